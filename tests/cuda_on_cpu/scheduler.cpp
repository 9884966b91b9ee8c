// Runs the threads of a kernel; see scheduler.h.
//
// A warp runs until each of its threads waits or has ended, then the next warp runs. An operation of
// a warp completes as soon as all lanes of its mask wait for it, one of the block when all threads of
// the block do. The order of blocks, of the warps in a block and of the lanes in a warp is forward,
// reverse or shuffled: results that depend on it show a missing barrier.
//
// ThreadSanitizer is told that each CUDA thread is a thread of its own, that barriers, operations of
// warps and fences order them, and that nothing else does, not even the end of a block. This file
// is not instrumented: CUDA_ON_CPU_ASAN or CUDA_ON_CPU_TSAN says that the kernels are.
#include "scheduler.h"

#include "faults.h"
#include "fiber.h"
#include "shared_memory.h"

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <vector>

// What kernels, to which they are constant, read.
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_cpu {
namespace {

constexpr int WARP = 32, MAX_THREADS = 1024;
constexpr size_t MAX_STATIC_SHARED = 48 << 10;

enum class State : unsigned char { fresh, ready, running, waits_for_warp, waits_for_block, ended };

struct Thread {
    uint3 index;
    State state;
    Fiber *fiber; // once it has begun
};

// What a thread waits for.
struct Wait {
    int line;
    BlockOperation block_operation;
    int vote;
    WarpOperation warp_operation;
    Offer offer;
    uint64_t result;
    // For ThreadSanitizer: the lanes that were waited for, and how often each had waited, modulo 2.
    unsigned group, parities;
    bool parity;
};

// ------------------------------------------------------------------------------ what is running now

void (*body)(void *);
void *arguments;
Thread threads[MAX_THREADS];
Wait waits[MAX_THREADS];
int thread_count;
Thread *current;
Fiber host; // the stack of the caller
SharedMemory shared_memory;
uint64_t block_serial, shared_limit;
unsigned barriers; // how many the block has passed
bool warp_waits;   // whether a thread of the warp that is running waits for the warp
char error[256];

void set_error(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(error, sizeof error, format, values);
    va_end(values);
}

int current_number() {
    return static_cast<int>(current - threads);
}

// --------------------------------------------------------------------------------- ThreadSanitizer

#if defined(CUDA_ON_CPU_TSAN)
char end_tag, fence_tag;
constexpr size_t MAX_FIBERS = 4096; // ThreadSanitizer has room for some 8000

void acquire(char &tag) {
    __tsan_acquire(&tag);
}

void release(char &tag) {
    __tsan_release(&tag);
}

void release_arrival(int number) {
    release(shared_memory.tags()->arrival[number][waits[number].parity]);
}

// A lane that was faster may wait again already, but for no more than one operation.
void acquire_arrivals(int number) {
    const int first = number / WARP * WARP;
    for (int lane = 0; lane < WARP; ++lane)
        if (waits[number].group >> lane & 1)
            acquire(
                shared_memory.tags()->arrival[first + lane][waits[number].parities >> lane & 1]);
}
#define TSAN(statement) statement
#else
#define TSAN(statement)
#endif

// ------------------------------------------------------------------------------------------ fibers

std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Fiber *> idle_fibers;

void run_threads();

Fiber *find_fiber() {
    if (idle_fibers.empty()) {
        fibers.push_back(std::make_unique<Fiber>(run_threads, static_cast<int>(fibers.size())));
        return fibers.back().get();
    }
    Fiber *fiber = idle_fibers.back();
    idle_fibers.pop_back();
    return fiber;
}

void release_fiber([[maybe_unused]] Fiber *fiber) {
#if !defined(CUDA_ON_CPU_TSAN) // to which a fiber is a thread
    idle_fibers.push_back(fiber);
#endif
}

// The lanes of the warp that is running, in the order in which they do, and how far that has come.
const int *lanes;
int position, first_thread;

Thread *next_thread() {
    while (++position < WARP) {
        const int number = first_thread + lanes[position];
        if (number >= thread_count) continue;
        Thread &thread = threads[number];
        if (thread.state == State::fresh || thread.state == State::ready) return &thread;
    }
    return nullptr;
}

// Lets the next thread of the warp run, or the host if there is none; returns when it is the turn of
// `from` again.
void hand_over(Fiber *from) {
    Fiber *to = &host;
    if (Thread *next = next_thread()) {
        if (!next->fiber) next->fiber = find_fiber();
        next->state = State::running;
        current = next;
        threadIdx = next->index;
        to = next->fiber;
    }
    if (to != from) from->switch_to(*to);
}

// What a fiber runs: one thread after another. A thread that has waited resumes within body.
void run_threads() {
    Fiber::arrive();
    for (;;) {
        TSAN(acquire(shared_memory.tags()->start));
        body(arguments);
        TSAN(release(end_tag));
        current->state = State::ended;
        Fiber *fiber = current->fiber;
        release_fiber(fiber);
        hand_over(fiber);
    }
}

void wait_as(State state) {
    Thread *self = current;
    self->state = state;
    hand_over(self->fiber);
}

// After an error: takes the stacks from the threads that will not run on.
void abandon_threads() {
    for (int i = 0; i < thread_count; ++i) {
        Thread &thread = threads[i];
        if (thread.state == State::fresh || thread.state == State::ended) continue;
        thread.fiber->restart(run_threads);
        release_fiber(thread.fiber);
    }
}

// ------------------------------------------------------------------------------------------- warps

// The lane that a shuffle reads from.
int shuffle_source(WarpOperation operation, int lane, const Offer &offer) {
    const int segment = lane & ~(offer.width - 1), end = segment + offer.width;
    int source;
    switch (operation) {
        case WarpOperation::shuffle: return segment + (offer.operand & (offer.width - 1));
        case WarpOperation::shuffle_up:
            source = lane - offer.operand;
            return source < segment ? lane : source;
        case WarpOperation::shuffle_down: source = lane + offer.operand; break;
        default: source = lane ^ offer.operand; break;
    }
    return source >= end ? lane : source;
}

uint64_t warp_result(const Wait *warp, int lane, unsigned group) {
    const Offer &offer = warp[lane].offer;
    uint64_t result = 0;
    switch (warp[lane].warp_operation) {
        case WarpOperation::barrier: return 0;
        case WarpOperation::ballot:
            for (int i = 0; i < WARP; ++i)
                if (group >> i & 1 && warp[i].offer.bits) result |= 1u << i;
            return result;
        case WarpOperation::match:
            for (int i = 0; i < WARP; ++i)
                if (group >> i & 1 && warp[i].offer.bits == offer.bits) result |= 1u << i;
            return result;
        default: break;
    }
    const int source = shuffle_source(warp[lane].warp_operation, lane, offer);
    // The value of a lane that takes no part is undefined.
    return source >= 0 && group >> source & 1 ? warp[source].offer.bits : ~uint64_t(0);
}

// Whether all lanes that this one waits for are there, which must then mean the same operation.
bool is_complete(const Wait *warp, int lane, unsigned group, unsigned waiting) {
    if (group & ~waiting) return false;
    const Wait &one = warp[lane];
    for (int i = 0; i < WARP; ++i) {
        if (!(group >> i & 1)) continue;
        const Wait &other = warp[i];
        if (other.offer.mask != one.offer.mask) return false;
        if (other.warp_operation != one.warp_operation || other.offer.size != one.offer.size)
            set_error("lines %d and %d: different operations of a warp with the mask 0x%08x",
                      one.line, other.line, one.offer.mask);
    }
    return true;
}

// Completes what it can of the operations that lanes wait for; returns whether that was any.
bool complete_warp_operations() {
    Thread *warp = threads + first_thread;
    Wait *wait = waits + first_thread;
    const int lane_count = std::min(WARP, thread_count - first_thread);
    unsigned alive = 0, waiting = 0;
    for (int lane = 0; lane < lane_count; ++lane) {
        if (warp[lane].state != State::ended) alive |= 1u << lane;
        if (warp[lane].state == State::waits_for_warp) waiting |= 1u << lane;
    }
    bool any = false;
    for (int lane = 0; lane < lane_count; ++lane) {
        const unsigned group = wait[lane].offer.mask & alive;
        if (!(waiting >> lane & 1) || !is_complete(wait, lane, group, waiting)) continue;
        if (error[0]) return false;
        unsigned parities = 0;
        for (int i = lane; i < lane_count; ++i) {
            if (!(group >> i & 1)) continue;
            wait[i].result = warp_result(wait, i, group);
            parities |= static_cast<unsigned>(wait[i].parity) << i;
        }
        for (int i = lane; i < lane_count; ++i) {
            if (!(group >> i & 1)) continue;
            warp[i].state = State::ready;
            wait[i].group = group;
            wait[i].parities = parities;
        }
        waiting &= ~group;
        any = true;
    }
    warp_waits = waiting;
    return any;
}

void run_warp(int first, const int *order) {
    first_thread = first;
    lanes = order;
    warp_waits = false;
    do {
        position = -1;
        hand_over(&host);
    } while (!error[0] && warp_waits && complete_warp_operations());
}

// ------------------------------------------------------------------------------------------ blocks

// What an operation of the block gives all threads, of which `votes` said yes.
int block_result(BlockOperation operation, int votes) {
    switch (operation) {
        case BlockOperation::count: return votes;
        case BlockOperation::all: return votes == thread_count;
        case BlockOperation::any: return votes > 0;
        default: return 0;
    }
}

// Lets the threads go on if all wait for the block. Returns false if all have ended, or on an error.
bool complete_block_operation() {
    int waiting = 0, votes = 0;
    const Wait *one = nullptr;
    for (int i = 0; i < thread_count; ++i) {
        const Wait &wait = waits[i];
        if (threads[i].state == State::ended) continue;
        if (threads[i].state == State::waits_for_warp) {
            set_error(
                "line %d: an operation of a warp with the mask 0x%08x that not all of its lanes "
                "reach (thread %d waits)",
                wait.line, wait.offer.mask, i);
            return false;
        }
        ++waiting;
        votes += wait.vote;
        if (!one) one = &wait;
        if (wait.line != one->line || wait.block_operation != one->block_operation) {
            set_error("divergent barrier: some threads wait in line %d, others in line %d",
                      one->line, wait.line);
            return false;
        }
    }
    if (!waiting) return false;
    if (waiting < thread_count) {
        set_error("line %d: a barrier that %d of %d threads reach, the others have returned",
                  one->line, waiting, thread_count);
        return false;
    }
    const int result = block_result(one->block_operation, votes);
    for (int i = 0; i < thread_count; ++i) {
        waits[i].result = result;
        threads[i].state = State::ready;
    }
    ++barriers;
    return true;
}

void begin_block(const uint3 &block, size_t dynamic_size) {
    blockIdx = block;
    ++block_serial;
    barriers = 0;
    for (int i = 0; i < thread_count; ++i) {
        threads[i].state = State::fresh;
        threads[i].fiber = nullptr;
        TSAN(threads[i].fiber = find_fiber()); // what creates a thread comes before all it does
        TSAN(waits[i].parity = false);
    }
    shared_memory.begin_block(dynamic_size);
    TSAN(release(shared_memory.tags()->start));
}

void run_block(const std::vector<int> &warps, const std::vector<int> &lane_order) {
    do {
        for (size_t i = 0; i < warps.size(); ++i) {
            run_warp(warps[i] * WARP, &lane_order[i * WARP]);
            if (error[0]) return;
        }
    } while (complete_block_operation());
    if (!error[0] && !shared_memory.is_intact())
        set_error("shared memory was written beyond a variable, or beyond its dynamic size");
}

// ------------------------------------------------------------------------------------------- order

class Shuffler {
  public:
    explicit Shuffler(uint64_t seed) : state(seed) {
        for (uint64_t &key : keys) key = next() | 1;
    }

    void shuffle(int *first, int count) {
        for (int i = count; i > 1; --i) std::swap(first[i - 1], first[(next() >> 32) * i >> 32]);
    }

    // Number i of a permutation of the numbers below `count`, which may be too many for a table: a
    // Feistel network permutes those below a power of four, and is repeated until it hits.
    uint64_t permute(uint64_t i, uint64_t count) const {
        int half = 1;
        while (half < 32 && count > uint64_t(1) << 2 * half) ++half;
        const uint64_t mask = (uint64_t(1) << half) - 1;
        do {
            uint64_t left = i >> half, right = i & mask;
            for (uint64_t key : keys) {
                const uint64_t mixed = (right + 1) * key;
                const uint64_t next = left ^ ((mixed ^ mixed >> 32 ^ mixed >> 17) & mask);
                left = right;
                right = next;
            }
            i = left << half | right;
        } while (i >= count);
        return i;
    }

  private:
    // Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64.
    uint64_t next() {
        uint64_t mixed = state += 0x9e3779b97f4a7c15;
        mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
        return mixed ^ mixed >> 31;
    }

    uint64_t state, keys[6];
};

void run_grid(const Launch &launch) {
    const uint64_t blocks = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
    const uint64_t row = launch.grid.x, plane = row * launch.grid.y;
    static std::vector<int> warps, lane_order; // static: a fault leaves this function
    warps.resize((thread_count + WARP - 1) / WARP);
    lane_order.resize(warps.size() * WARP);
    std::iota(warps.begin(), warps.end(), 0);
    for (size_t i = 0; i < lane_order.size(); ++i) lane_order[i] = i % WARP;
    if (launch.order == Order::reverse) {
        std::reverse(warps.begin(), warps.end());
        std::reverse(lane_order.begin(), lane_order.end());
    }
    Shuffler shuffler(launch.seed);
    for (uint64_t i = 0; i < blocks; ++i) {
        uint64_t block = i;
        if (launch.order == Order::reverse) block = blocks - 1 - i;
        if (launch.order == Order::shuffled) {
            block = shuffler.permute(i, blocks);
            shuffler.shuffle(warps.data(), static_cast<int>(warps.size()));
            for (size_t warp = 0; warp < warps.size(); ++warp)
                shuffler.shuffle(&lane_order[warp * WARP], WARP);
        }
        begin_block({unsigned(block % row), unsigned(block % plane / row), unsigned(block / plane)},
                    launch.dynamic_shared);
        run_block(warps, lane_order);
        if (error[0]) return;
#if defined(CUDA_ON_CPU_TSAN)
        if (fibers.size() > MAX_FIBERS)
            return set_error("more than %zu threads at once are too many for ThreadSanitizer",
                             MAX_FIBERS);
#endif
    }
}

void begin_launch(const Launch &launch) {
    gridDim = launch.grid;
    blockDim = launch.block;
    thread_count = blockDim.x * blockDim.y * blockDim.z;
    shared_limit = launch.shared_limit;
    error[0] = 0;
    for (int i = 0; i < thread_count; ++i) {
        const unsigned row = i / blockDim.x;
        threads[i].index = {i % blockDim.x, row % blockDim.y, row / blockDim.y};
    }
    host.adopt_caller();
}

sigjmp_buf escape;

// Ends the launch from within the handler of a fault.
void report_fault(int signal, const void *address) {
    const uint3 &thread = threadIdx, &block = blockIdx;
    const char *what = "an access to an invalid address";
    if (signal == SIGFPE) {
        what = "an integer division by zero";
    } else if (current->fiber->ends_at(address)) {
        what = "more memory for local variables than a thread has";
    }
    set_error("%s in thread (%u, %u, %u) of block (%u, %u, %u)", what, thread.x, thread.y, thread.z,
              block.x, block.y, block.z);
    siglongjmp(escape, 1);
}

} // namespace

// --------------------------------------------------------------------------------------- interface

extern "C" const char *cuda_on_cpu_run(const Launch *launch, void (*kernel)(void *), void *values) {
    body = kernel;
    arguments = values;
    begin_launch(*launch);
    {
        const FaultHandler handler(report_fault);
        if (!sigsetjmp(escape, 1)) run_grid(*launch);
    }
    if (error[0]) abandon_threads();
#if defined(CUDA_ON_CPU_TSAN)
    acquire(end_tag);
    fibers.clear();
#endif
    shared_memory.end_launch();
    return error[0] ? error : nullptr;
}

void fail(int line, const char *message) {
    if (line) {
        set_error("line %d: %s", line, message);
    } else {
        set_error("%s", message);
    }
    current->fiber->switch_to(host);
    __builtin_unreachable();
}

int wait_for_block(BlockOperation operation, int value, int line) {
    Wait &wait = waits[current_number()];
    wait.block_operation = operation;
    wait.vote = value != 0;
    wait.line = line;
    TSAN(char &tag = shared_memory.tags()->barrier[barriers & 1]);
    TSAN(release(tag));
    wait_as(State::waits_for_block);
    TSAN(acquire(tag));
    return static_cast<int>(wait.result);
}

unsigned long long wait_for_warp(WarpOperation operation, const Offer &offer, int line) {
    if (!(offer.mask & lane_mask())) fail(line, "a lane that is not in the mask it gives");
    if (offer.width & (offer.width - 1) || offer.width < 1 || offer.width > WARP)
        fail(line, "the width of a shuffle must be 1, 2, 4, 8, 16 or 32");
    Wait &wait = waits[current_number()];
    wait.warp_operation = operation;
    wait.offer = offer;
    wait.line = line;
    TSAN(release_arrival(current_number()));
    warp_waits = true;
    wait_as(State::waits_for_warp);
    TSAN(acquire_arrivals(current_number()));
    TSAN(wait.parity = !wait.parity);
    return wait.result;
}

void fence() {
    TSAN(acquire(fence_tag));
    TSAN(release(fence_tag));
}

unsigned lane_mask() {
    return 1u << current_number() % WARP;
}

void *shared_variable(Slot &slot, unsigned long long size, unsigned long long alignment, int line) {
    if (slot.block != block_serial) {
        slot.memory = shared_memory.allocate(size, alignment);
        slot.block = block_serial;
        if (!slot.memory || shared_memory.static_size() > MAX_STATIC_SHARED)
            fail(line, "more than 48 KiB of static shared memory in a block");
        if (shared_memory.size() > shared_limit)
            fail(line, "static and dynamic shared memory are more than the device has for a block");
    }
    return slot.memory;
}

void *dynamic_shared() {
    return shared_memory.dynamic;
}

} // namespace cuda_on_cpu
