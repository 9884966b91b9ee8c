// What a compiled kernel and the scheduler (scheduler.cpp) know of each other.
//
// A launch runs one block after another on one thread of the operating system. Within a block every
// CUDA thread runs until it has to wait: for its block, at a barrier, or for its warp. Then the next
// one runs. A thread that waits keeps its stack (it is a "fiber"); one that never waits leaves the
// stack to the next, so that kernels without barriers cost no more than function calls.
#pragma once

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {
    }
};

namespace cuda_on_cpu {

enum class Order : int { forward, reverse, shuffled };

struct Launch {
    dim3 grid, block;
    unsigned long long dynamic_shared; // bytes of a block
    unsigned long long shared_limit;   // bytes that a block may have, static and dynamic
    unsigned long long seed;           // of the shuffled order
    Order order;
};

// Runs a kernel, body(arguments), once for each thread. Returns null, or what is wrong.
extern "C" const char *cuda_on_cpu_run(const Launch *launch, void (*body)(void *), void *arguments);

// ------------------------------------------------------------- called by the thread that is running

// Ends the launch with an error. Lines are those of the kernel's source; 0: unknown.
[[noreturn]] void fail(int line, const char *message);

// Waits for all threads of the block. `value` is this thread's, the result that of all.
enum class BlockOperation : int { barrier, count, all, any };
int wait_for_block(BlockOperation operation, int value, int line);

// Waits for the lanes of the mask. The result is what the operation gives this lane.
enum class WarpOperation : int {
    barrier,
    shuffle,
    shuffle_up,
    shuffle_down,
    shuffle_xor,
    ballot,
    match
};
struct Offer {
    unsigned mask;           // the lanes that take part
    unsigned long long bits; // the value of this lane
    int size;                // of the value, in bytes
    int operand;             // of a shuffle: the lane or the distance
    int width;               // of a shuffle: that of the segments it stays in
};
unsigned long long wait_for_warp(WarpOperation operation, const Offer &offer, int line);

// What this thread wrote before, a thread that passes a fence later may read.
void fence();

unsigned lane_mask();

// The memory of a __shared__ variable; each variable of each kernel has a Slot.
struct Slot {
    unsigned long long block; // the serial number of the block that it has memory in
    void *memory;
};
void *shared_variable(Slot &slot, unsigned long long size, unsigned long long alignment, int line);
void *dynamic_shared();

} // namespace cuda_on_cpu
