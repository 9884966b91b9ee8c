// In which order the blocks of a launch run, in each block its warps, and in each warp its lanes.
#pragma once

#include "scheduler.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace cuda_on_cpu {

// Random numbers and permutations that are the same everywhere.
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
                const uint64_t sum = left ^ ((mixed ^ mixed >> 32 ^ mixed >> 17) & mask);
                left = right;
                right = sum;
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

class LaunchOrder {
  public:
    static constexpr int WARP = 32;

    void begin_launch(const Launch &launch, int threads) {
        order = launch.order;
        shuffler = Shuffler(launch.seed);
        blocks = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
        warps.resize((threads + WARP - 1) / WARP);
        lanes.resize(warps.size() * WARP);
        std::iota(warps.begin(), warps.end(), 0);
        for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = i % WARP;
        if (order == Order::reverse) {
            std::reverse(warps.begin(), warps.end());
            std::reverse(lanes.begin(), lanes.end());
        }
    }

    uint64_t block_count() const {
        return blocks;
    }

    // Returns the number of the block that runs as number i, and decides on its warps and lanes.
    uint64_t begin_block(uint64_t i) {
        if (order == Order::forward) return i;
        if (order == Order::reverse) return blocks - 1 - i;
        shuffler.shuffle(warps.data(), static_cast<int>(warps.size()));
        for (size_t warp = 0; warp < warps.size(); ++warp)
            shuffler.shuffle(&lanes[warp * WARP], WARP);
        return shuffler.permute(i, blocks);
    }

    int warp_count() const {
        return static_cast<int>(warps.size());
    }

    // The warp that runs as number i, and the order of its lanes.
    int warp(int i) const {
        return warps[i];
    }

    const int *lanes_of_warp(int i) const {
        return &lanes[i * WARP];
    }

  private:
    Order order = Order::forward;
    Shuffler shuffler{0};
    uint64_t blocks = 0;
    std::vector<int> warps, lanes;
};

} // namespace cuda_on_cpu
