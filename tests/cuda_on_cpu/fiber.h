// Fibers: stacks that the one thread of the operating system switches between.
//
// On x86-64 a switch saves the registers that a called function must keep, and takes nanoseconds;
// elsewhere (or with CUDA_ON_CPU_UCONTEXT) swapcontext does it. The sanitizers are told of each switch.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include <pthread.h>
#include <sys/mman.h>

#if !defined(__x86_64__) || defined(CUDA_ON_CPU_UCONTEXT)
#define CUDA_ON_CPU_SWAPS_CONTEXTS
#include <ucontext.h>
#else
extern "C" void cuda_on_cpu_switch(void **save_stack_pointer, void *load_stack_pointer);
asm(R"(
.text
.type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_on_cpu_switch, .-cuda_on_cpu_switch
)");
#endif

#if defined(CUDA_ON_CPU_ASAN)
extern "C" {
void __sanitizer_start_switch_fiber(void **save_fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
void __asan_poison_memory_region(const volatile void *memory, size_t size);
void __asan_unpoison_memory_region(const volatile void *memory, size_t size);
}
#endif
#if defined(CUDA_ON_CPU_TSAN)
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *address);
void __tsan_release(void *address);
}
constexpr unsigned TSAN_SWITCH_ORDERS_NOTHING = 1;
#endif

namespace cuda_on_cpu {

#if defined(CUDA_ON_CPU_ASAN)
constexpr size_t STACK = 1024 << 10; // its frames are larger
#else
constexpr size_t STACK = 256 << 10;
#endif
constexpr size_t PAGE = 4096;

class Fiber {
  public:
    // The stack of the caller.
    Fiber() {
    }

    // A stack of its own, on which the first switch to it calls `entry`, which must not return.
    Fiber(void (*entry)(), int number) : number(number) {
        void *memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE)) { // an overflow is a fault
            perror("cuda_on_cpu: no memory for the stack of a thread");
            abort();
        }
        stack = static_cast<char *>(memory);
        restart(entry);
    }

    ~Fiber() {
        if (!stack) return;
#if defined(CUDA_ON_CPU_TSAN)
        __tsan_destroy_fiber(thread_sanitizer);
#endif
        munmap(stack, STACK);
    }

    Fiber(const Fiber &) = delete;
    Fiber &operator=(const Fiber &) = delete;

    // Forgets what ran on the stack.
    void restart(void (*entry)()) {
#if defined(CUDA_ON_CPU_ASAN)
        __asan_unpoison_memory_region(stack + PAGE, STACK - PAGE); // frames that were never left
        bottom = stack;
        size = STACK;
#endif
#if defined(CUDA_ON_CPU_TSAN)
        if (thread_sanitizer) __tsan_destroy_fiber(thread_sanitizer);
        thread_sanitizer = __tsan_create_fiber(0);
#endif
#if defined(CUDA_ON_CPU_SWAPS_CONTEXTS)
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = STACK;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
#else
        // Stacks lie at multiples of their size; the shift keeps their frames out of each other's way
        // in the cache.
        void **top = reinterpret_cast<void **>(stack + STACK - number % 64 * 64);
        *--top = nullptr;
        *--top = reinterpret_cast<void *>(entry); // where the first switch returns to
        for (int i = 0; i < 6; ++i) *--top = nullptr;
        stack_pointer = top;
#endif
    }

    // To be called once on the stack of the caller, before it switches to another.
    void adopt_caller() {
#if defined(CUDA_ON_CPU_ASAN)
        pthread_attr_t attributes;
        void *address;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &address, &size);
        pthread_attr_destroy(&attributes);
        bottom = address;
#endif
#if defined(CUDA_ON_CPU_TSAN)
        thread_sanitizer = __tsan_get_current_fiber();
#endif
    }

    // To be called first of all on a new stack.
    static void arrive() {
#if defined(CUDA_ON_CPU_ASAN)
        __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    }

    // Returns when something switches back.
    void switch_to(Fiber &to) {
#if defined(CUDA_ON_CPU_ASAN)
        void *fake_stack;
        __sanitizer_start_switch_fiber(&fake_stack, to.bottom, to.size);
#endif
#if defined(CUDA_ON_CPU_TSAN)
        __tsan_switch_to_fiber(to.thread_sanitizer, TSAN_SWITCH_ORDERS_NOTHING);
#endif
#if defined(CUDA_ON_CPU_SWAPS_CONTEXTS)
        swapcontext(&context, &to.context);
#else
        cuda_on_cpu_switch(&stack_pointer, to.stack_pointer);
#endif
#if defined(CUDA_ON_CPU_ASAN)
        __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
    }

    // Whether an access there is one beyond the end of the stack.
    bool ends_at(const void *address) const {
        const char *place = static_cast<const char *>(address);
        return stack && place >= stack && place < stack + PAGE;
    }

  private:
    char *stack = nullptr;
    int number = 0;
#if defined(CUDA_ON_CPU_SWAPS_CONTEXTS)
    ucontext_t context;
#else
    void *stack_pointer = nullptr;
#endif
#if defined(CUDA_ON_CPU_ASAN)
    const void *bottom = nullptr;
    size_t size = 0;
#endif
#if defined(CUDA_ON_CPU_TSAN)
    void *thread_sanitizer = nullptr;
#endif
};

} // namespace cuda_on_cpu
