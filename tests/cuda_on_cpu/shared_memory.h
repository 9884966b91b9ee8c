// The shared memory of the block that is running: dynamic first, then each __shared__ variable.
//
// All of it, and the gaps between, is filled with 0xff before use, which reads as NaN or -1. The gaps
// must be unchanged when the block ends; AddressSanitizer is told that they must not be read either.
#pragma once

#include "fiber.h"

#include <cstring>
#include <vector>

namespace cuda_on_cpu {

// What barriers tell ThreadSanitizer is told of addresses, which must be a block's own.
struct Tags {
    char start, barrier[2], arrival[1024][2];
};

class SharedMemory {
  public:
    // Makes room for the next block.
    void begin_block(size_t dynamic_size) {
#if defined(CUDA_ON_CPU_TSAN)
        map(); // memory that no thread of another block has touched
#else
        if (!memory) map();
#endif
        unpoison(memory, used);
        memset(memory, 0xff, GAP);
        poison(memory, GAP);
        used = GAP;
        gaps.assign(1, {0, GAP});
        bytes = 0;
        dynamic = allocate(dynamic_size, GAP);
        dynamic_bytes = dynamic_size;
    }

    // Returns null if no block can have so much.
    void *allocate(size_t size, size_t alignment) {
        const size_t begin = (used + alignment - 1) / alignment * alignment;
        const size_t end = begin + size, next = (end + 2 * GAP - 1) / GAP * GAP;
        if (size > CAPACITY || next > CAPACITY) return nullptr;
        memset(memory + used, 0xff, next - used);
        poison(memory + used, next - used);
        unpoison(memory + begin, size);
        gaps.push_back({end, next});
        used = next;
        bytes += size;
        return memory + begin;
    }

    // Whether nothing was written between the variables.
    bool is_intact() const {
#if !defined(CUDA_ON_CPU_ASAN)
        for (const Gap &gap : gaps)
            for (size_t i = gap.begin; i < gap.end; ++i)
                if (static_cast<unsigned char>(memory[i]) != 0xff) return false;
#endif
        return true;
    }

    size_t size() const {
        return bytes;
    }

    size_t static_size() const {
        return bytes - dynamic_bytes;
    }

    // Returns memory to the system that the blocks of a launch did not share.
    void end_launch() {
#if defined(CUDA_ON_CPU_TSAN)
        for (char *mapping : mappings) munmap(mapping, CAPACITY + sizeof(Tags));
        mappings.clear();
#endif
    }

    Tags *tags() const {
        return reinterpret_cast<Tags *>(memory + CAPACITY);
    }

    void *dynamic = nullptr;

  private:
    struct Gap {
        size_t begin, end;
    };

    void map() {
        void *mapping = mmap(nullptr, CAPACITY + sizeof(Tags), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping == MAP_FAILED) {
            perror("cuda_on_cpu: no shared memory");
            abort();
        }
        memory = static_cast<char *>(mapping);
        mappings.push_back(memory);
    }

    static void poison([[maybe_unused]] char *begin, [[maybe_unused]] size_t size) {
#if defined(CUDA_ON_CPU_ASAN)
        __asan_poison_memory_region(begin, size);
#endif
    }

    static void unpoison([[maybe_unused]] char *begin, [[maybe_unused]] size_t size) {
#if defined(CUDA_ON_CPU_ASAN)
        __asan_unpoison_memory_region(begin, size);
#endif
    }

    // More than any GPU has, so that the limit of the launch is what is reported. Gaps are as wide as
    // any variable is aligned.
    static constexpr size_t CAPACITY = 1 << 20, GAP = 256;

    char *memory = nullptr;
    size_t used = 0, bytes = 0, dynamic_bytes = 0;
    std::vector<Gap> gaps;
    std::vector<char *> mappings;
};

} // namespace cuda_on_cpu
