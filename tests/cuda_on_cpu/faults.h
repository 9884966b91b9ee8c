// Makes a fault of the processor (an address that is not mapped, an integer divided by zero) an error
// of the launch. The sanitizers, which report faults themselves, are left to it.
#pragma once

#include <csetjmp>
#include <csignal>
#include <cstddef>

#include <pthread.h>

namespace cuda_on_cpu {

// Handles faults of this thread for as long as it exists: calls a function, which must not return.
class FaultHandler {
  public:
    using Report = void (*)(int signal, const void *address);

    explicit FaultHandler([[maybe_unused]] Report function) {
#if !defined(CUDA_ON_CPU_ASAN) && !defined(CUDA_ON_CPU_TSAN)
        report = function;
        owner = pthread_self();
        // A stack that has overflowed has no room for the handler.
        static char memory[64 << 10];
        stack_t stack = {};
        stack.ss_sp = memory;
        stack.ss_size = sizeof memory;
        sigaltstack(&stack, &previous_stack);
        struct sigaction action = {};
        action.sa_sigaction = handle;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &action, &previous[i]);
#endif
    }

    ~FaultHandler() {
#if !defined(CUDA_ON_CPU_ASAN) && !defined(CUDA_ON_CPU_TSAN)
        for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &previous[i], nullptr);
        sigaltstack(&previous_stack, nullptr);
#endif
    }

    FaultHandler(const FaultHandler &) = delete;
    FaultHandler &operator=(const FaultHandler &) = delete;

  private:
    static void handle(int signal, siginfo_t *information, void *) {
        if (pthread_equal(owner, pthread_self())) report(signal, information->si_addr);
        std::signal(signal, SIG_DFL); // another thread's: it faults again
    }

    static constexpr int COUNT = 3, SIGNALS[COUNT] = {SIGSEGV, SIGBUS, SIGFPE};
    static inline Report report;
    static inline pthread_t owner;
    struct sigaction previous[COUNT];
    stack_t previous_stack;
};

} // namespace cuda_on_cpu
