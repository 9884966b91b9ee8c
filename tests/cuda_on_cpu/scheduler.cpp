// Runs the threads of a kernel; see scheduler.h.
//
// A warp runs until each of its threads waits or has ended, then the next warp runs. An operation
// of a warp completes as soon as all lanes of its mask wait for it, one of the block when all
// threads of the block do. Blocks, the warps of a block and the lanes of a warp take their turns in
// an order that can be chosen (order.h): results that depend on it show a missing barrier.
//
// ThreadSanitizer is told that each CUDA thread is a thread of its own, that barriers, operations
// of warps and fences order them, and that nothing else does, not even the end of a block. This
// file is not instrumented: CUDA_ON_CPU_ASAN or CUDA_ON_CPU_TSAN says that the kernels are.
#include "scheduler.h"

#include "faults.h"
#include "fiber.h"
#include "order.h"
#include "shared_memory.h"

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

// What kernels, to which they are constant, read.
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_cpu {
namespace {

constexpr int WARP = LaunchOrder::WARP, MAX_THREADS = 1024;
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

// ----------------------------------------------------------------------------- what is running now

void (*body)(void *);
void *arguments;
Thread threads[MAX_THREADS];
Wait waits[MAX_THREADS];
int thread_count;
Thread *current;
Fiber host; // the stack of the caller
SharedMemory shared_memory;
LaunchOrder launch_order;
uint64_t block_serial, shared_limit;
unsigned barriers; // how many the block has passed
bool warp_waits;   // whether a thread of the warp that is running waits for the warp
char error[512];

void set_error(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(error, sizeof error, format, values);
    va_end(values);
}

// An error of the thread that is running; a line of 0 is unknown.
void set_thread_error(int line, const char *what) {
    char place[32] = "";
    if (line) snprintf(place, sizeof place, "line %d: ", line);
    set_error("%s%s, in thread (%u, %u, %u) of block (%u, %u, %u)", place, what, threadIdx.x,
              threadIdx.y, threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z);
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

// Makes a thread the one that is running, on a fiber.
void begin_turn(Thread *thread, Fiber *fiber) {
    thread->fiber = fiber;
    thread->state = State::running;
    current = thread;
    threadIdx = thread->index;
}

// Lets a thread run, or the host if there is none; returns when it is the turn of `from` again.
void hand_over(Thread *next, Fiber *from) {
    Fiber *to = &host;
    if (next) {
        to = next->fiber ? next->fiber : find_fiber();
        begin_turn(next, to);
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
        Thread *next = next_thread();
        if (next && !next->fiber) {
            begin_turn(next, fiber);
        } else {
            release_fiber(fiber);
            hand_over(next, fiber);
        }
    }
}

void wait_as(State state) {
    Thread *self = current;
    self->state = state;
    hand_over(next_thread(), self->fiber);
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

// Gives each lane of a group what their operation gives it.
void complete_warp_operation(Thread *warp, Wait *wait, unsigned group) {
    unsigned parities = 0;
    for (int lane = 0; lane < WARP; ++lane) {
        if (!(group >> lane & 1)) continue;
        wait[lane].result = warp_result(wait, lane, group);
        parities |= static_cast<unsigned>(wait[lane].parity) << lane;
    }
    for (int lane = 0; lane < WARP; ++lane) {
        if (!(group >> lane & 1)) continue;
        warp[lane].state = State::ready;
        wait[lane].group = group;
        wait[lane].parities = parities;
    }
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
        complete_warp_operation(warp, wait, group);
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
        hand_over(next_thread(), &host);
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

// Lets the threads go on if all wait for the block. Returns false if all have ended or on an error.
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

void run_block() {
    do {
        for (int i = 0; i < launch_order.warp_count(); ++i) {
            run_warp(launch_order.warp(i) * WARP, launch_order.lanes_of_warp(i));
            if (error[0]) return;
        }
    } while (complete_block_operation());
    if (!error[0] && !shared_memory.is_intact())
        set_error("shared memory was written beyond a variable, or beyond its dynamic size");
}

// ---------------------------------------------------------------------------------------- launches

void run_grid(const Launch &launch) {
    const uint64_t row = launch.grid.x, plane = row * launch.grid.y;
    for (uint64_t i = 0; i < launch_order.block_count(); ++i) {
        const uint64_t block = launch_order.begin_block(i);
        begin_block({unsigned(block % row), unsigned(block % plane / row), unsigned(block / plane)},
                    launch.dynamic_shared);
        run_block();
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
    launch_order.begin_launch(launch, thread_count);
    for (int i = 0; i < thread_count; ++i) {
        const unsigned row = i / blockDim.x;
        threads[i].index = {i % blockDim.x, row % blockDim.y, row / blockDim.y};
    }
    host.adopt_caller();
}

sigjmp_buf escape;

// Ends the launch from within the handler of a fault.
void report_fault(int signal, const void *address) {
    const char *what = "an access to an invalid address";
    if (signal == SIGFPE) {
        what = "an integer division by zero";
    } else if (current->fiber->ends_at(address)) {
        what = "more memory for local variables than a thread has";
    }
    set_thread_error(0, what);
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
    set_thread_error(line, message);
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
