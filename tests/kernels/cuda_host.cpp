// One fiber per CUDA thread, one block at a time, on one OS thread: slow, exact, repeatable.
//
// A thread runs until its next barrier, then the next thread runs, in an order the test chooses: forward, backward or
// shuffled. Two threads that touch the same word without a barrier between them are thus seen in both orders, and a
// race shows as a changed result. Stops with a message when threads wait at different barriers, when one returns while
// others wait, when nobody can go on, or when a block wrote beside its dynamic shared memory.
#include "cuda_host.h"
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <ucontext.h>
#include <vector>

extern "C" {   // present only when the process runs under that sanitizer
void __sanitizer_start_switch_fiber(void**, const void*, std::size_t) __attribute__((weak));
void __sanitizer_finish_switch_fiber(void*, const void**, std::size_t*) __attribute__((weak));
void __asan_poison_memory_region(const volatile void*, std::size_t) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void*, std::size_t) __attribute__((weak));
void* __tsan_get_current_fiber() __attribute__((weak));
void* __tsan_create_fiber(unsigned) __attribute__((weak));
void __tsan_switch_to_fiber(void*, unsigned) __attribute__((weak));
void __tsan_acquire(void*) __attribute__((weak));
void __tsan_release(void*) __attribute__((weak));
}

namespace cuda_host {
namespace {

constexpr std::size_t stack_bytes = 256 * 1024;   // ASan frames are large
constexpr std::size_t guard_bytes = 4096;         // on both sides of dynamic shared memory
constexpr unsigned char guard = 0xa5;
constexpr unsigned no_sync = 1;                   // TSan: a switch orders nothing

struct Barrier {
    unsigned expected = 0, arrived = 0, generation = 0;
    int line = 0;
    char order[2] = {};                           // TSan, in turns: who is ahead orders nobody that still leaves
};

struct Warp {
    Barrier barrier;
    unsigned live = 0;                            // lanes that did not return yet
    alignas(16) unsigned char given[2][32][64];   // in turns: nobody is two exchanges ahead
};

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    uint3 index{};
    unsigned rank = 0, exchanges = 0, generation = 0;
    bool done = false;
    int waits_at = 0;
    const Barrier* barrier = nullptr;
    std::vector<Copy> copies;
    std::vector<std::size_t> groups;              // where each closed group of copies ends
    std::size_t landed = 0;
    void* asan = nullptr;
    void* tsan = nullptr;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
Barrier all;
ucontext_t scheduler;
void *scheduler_asan, *scheduler_tsan;
const void* scheduler_stack;
std::size_t scheduler_stack_bytes;
Fiber* running;
uint3 current_block;
dim3 block_, grid_;
void (*body_)(void*);
void* argument_;
char block_begin, block_end;                      // TSan: blocks follow one another
unsigned char* dynamic_;
std::size_t dynamic_bytes;

[[noreturn]] void fail(const char* what, unsigned rank, int line) {
    std::fprintf(stderr, "cuda_host: %s (block %u,%u,%u thread %u, line %d)\n", what, current_block.x, current_block.y,
                 current_block.z, rank, line);
    std::abort();
}

void to_scheduler(bool last) {
    Fiber& self = *running;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(last ? nullptr : &self.asan, scheduler_stack, scheduler_stack_bytes);
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(scheduler_tsan, no_sync);
    swapcontext(&self.context, &scheduler);
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(self.asan, &scheduler_stack, &scheduler_stack_bytes);
}

void to_fiber(Fiber& fiber) {
    running = &fiber;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&scheduler_asan, fiber.stack.get(), stack_bytes);
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(fiber.tsan, no_sync);
    swapcontext(&scheduler, &fiber.context);
    if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(scheduler_asan, nullptr, nullptr);
}

// Only a barrier orders memory; a shuffle or matrix instruction does not, and TSan is told so.
void wait(Barrier& barrier, int line, bool orders_memory) {
    Fiber& self = *running;
    if (barrier.arrived == 0) barrier.line = line;
    else if (barrier.line != line) fail("threads wait at different barriers", self.rank, line);
    self.barrier = &barrier;
    self.generation = barrier.generation;
    char* const order = &barrier.order[self.generation % 2];
    if (orders_memory && __tsan_release) __tsan_release(order);
    self.waits_at = line;
    if (++barrier.arrived == barrier.expected) {
        barrier.arrived = 0;
        ++barrier.generation;
    }
    while (barrier.generation == self.generation) to_scheduler(false);
    self.barrier = nullptr;
    if (orders_memory && __tsan_acquire) __tsan_acquire(order);
}

bool can_go_on(const Fiber& fiber) {
    return !fiber.done && (fiber.barrier == nullptr || fiber.barrier->generation != fiber.generation);
}

void fiber_main() {
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
    if (__tsan_acquire) __tsan_acquire(&block_begin);
    body_(argument_);
    Fiber& self = *running;
    Warp& warp = warps[self.rank / 32];
    if (all.arrived) fail("a thread returned while others wait at __syncthreads", self.rank, all.line);
    if (warp.barrier.arrived) fail("a lane returned while others of its warp wait", self.rank, warp.barrier.line);
    --all.expected;
    --warp.barrier.expected;
    warp.live &= ~(1u << self.rank % 32);
    self.done = true;
    if (__tsan_release) __tsan_release(&block_end);
    to_scheduler(true);
}

void prepare(unsigned rank) {
    Fiber& f = fibers[rank];
    f.rank = rank;
    f.index = {rank % block_.x, rank / block_.x % block_.y, rank / (block_.x * block_.y)};
    f.done = false;
    f.exchanges = 0;
    f.barrier = nullptr;
    f.copies.clear();
    f.groups.clear();
    f.landed = 0;
    ++warps[rank / 32].barrier.expected;
    warps[rank / 32].live |= 1u << rank % 32;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = stack_bytes;
    makecontext(&f.context, fiber_main, 0);
}

void run_block(const std::vector<unsigned>& order) {
    const unsigned n = static_cast<unsigned>(order.size());
    while (fibers.size() < n) {                   // stacks and TSan fibers serve every later block
        Fiber& f = fibers.emplace_back();
        f.stack.reset(new char[stack_bytes]);
        if (__tsan_create_fiber) f.tsan = __tsan_create_fiber(0);
    }
    warps.resize((n + 31) / 32);
    for (Warp& warp : warps) warp.barrier = {}, warp.live = 0;
    all = {};
    all.expected = n;
    if (__tsan_get_current_fiber) scheduler_tsan = __tsan_get_current_fiber();
    for (unsigned rank = 0; rank < n; ++rank) prepare(rank);
    if (__tsan_release) __tsan_release(&block_begin);
    for (unsigned left = n; left;) {
        bool progress = false;
        for (unsigned rank : order) {
            if (!can_go_on(fibers[rank])) continue;
            to_fiber(fibers[rank]);
            left -= fibers[rank].done;
            progress = true;
        }
        if (progress) continue;
        for (const Fiber& f : fibers)
            if (f.rank < n && !f.done) fail("deadlock: not every thread reaches this barrier", f.rank, f.waits_at);
    }
    if (__tsan_acquire) __tsan_acquire(&block_end);
}

std::vector<unsigned> permutation(unsigned n, unsigned order) {   // 0 forward, 1 backward, else a seed
    std::vector<unsigned> p(n);
    for (unsigned i = 0; i < n; ++i) p[i] = order == 1 ? n - 1 - i : i;
    for (unsigned i = n; order > 1 && i > 1; --i) {
        order = order * 1664525u + 1013904223u;
        std::swap(p[i - 1], p[(static_cast<std::uint64_t>(order) * i) >> 32]);
    }
    return p;
}

// volatile, or the loop becomes a call of memset, which the sanitizers intercept
void fill(volatile void* begin, std::size_t bytes, unsigned char value) {
    volatile unsigned char* p = static_cast<volatile unsigned char*>(begin);
    for (std::size_t i = 0; i < bytes; ++i) p[i] = value;
}

// Dynamic shared memory between two guards, which the address sanitizer forbids and which are looked at afterwards.
void open_dynamic(std::size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 4096, bytes + 2 * guard_bytes)) fail("no memory for shared memory", 0, 0);
    dynamic_ = static_cast<unsigned char*>(memory) + guard_bytes;
    dynamic_bytes = bytes;
    fill(dynamic_ - guard_bytes, guard_bytes, guard);
    fill(dynamic_ + bytes, guard_bytes, guard);
    if (__asan_poison_memory_region) {
        __asan_poison_memory_region(dynamic_ - guard_bytes, guard_bytes);
        __asan_poison_memory_region(dynamic_ + bytes, guard_bytes);
    }
}

void check_guards() {
    for (std::size_t i = 0; i < guard_bytes; ++i)
        if (dynamic_[i - guard_bytes] != guard || dynamic_[dynamic_bytes + i] != guard)
            fail("a thread wrote beside the dynamic shared memory", 0, 0);
}

void close_dynamic() {
    if (__asan_unpoison_memory_region)
        __asan_unpoison_memory_region(dynamic_ - guard_bytes, dynamic_bytes + 2 * guard_bytes);
    std::free(dynamic_ - guard_bytes);
}

}  // namespace

uint3 thread_index() { return running->index; }
uint3 block_index() { return current_block; }
dim3 block_dim() { return block_; }
dim3 grid_dim() { return grid_; }
unsigned lane() { return running->rank % 32; }
unsigned live_lanes() { return warps[running->rank / 32].live; }
void* dynamic_shared() { return dynamic_; }
void stop(const char* what, int line) { fail(what, running->rank, line); }
void sync_block(int line) { wait(all, line, true); }

void check_mask(unsigned mask, int line) {
    // Lanes outside the mask would have to be waited for at another place, which no kernel of ours does.
    if (live_lanes() & ~mask) fail("a mask leaves out a live lane of the warp", running->rank, line);
}

void sync_warp(unsigned mask, int line) {
    check_mask(mask, line);
    wait(warps[running->rank / 32].barrier, line, true);
}

Given exchange(unsigned mask, const void* mine, std::size_t bytes, int line) {
    check_mask(mask, line);
    Fiber& self = *running;
    Warp& warp = warps[self.rank / 32];
    auto& given = warp.given[self.exchanges++ % 2];
    const volatile unsigned char* from = static_cast<const volatile unsigned char*>(mine);
    for (std::size_t i = 0; i < bytes; ++i) given[self.rank % 32][i] = from[i];
    for (unsigned gone = ~warp.live; gone; gone &= gone - 1) fill(given[__builtin_ctz(gone)], bytes, 0xff);
    const unsigned live = warp.live;              // a lane that goes on first may have returned when this one resumes
    wait(warp.barrier, line, false);
    return {given[0], live};
}

void start_copy(Copy copy) { running->copies.push_back(copy); }
void close_copies() { running->groups.push_back(running->copies.size()); }

Copy* landing_copies(unsigned groups_left, std::size_t* n) {
    Fiber& self = *running;
    const std::size_t closed = self.groups.size(), first = self.landed;
    if (closed > groups_left) self.landed = std::max(first, self.groups[closed - 1 - groups_left]);
    *n = self.landed - first;
    return self.copies.data() + first;
}

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, unsigned order, long long only, void (*body)(void*),
              void* argument, char* shared_begin, char* shared_end) {
    grid_ = grid;
    block_ = block;
    body_ = body;
    argument_ = argument;
    const auto threads = permutation(block.x * block.y * block.z, order);
    const auto blocks = only < 0 ? permutation(grid.x * grid.y * grid.z, order)
                                 : std::vector<unsigned>{static_cast<unsigned>(only)};
    open_dynamic(shared_bytes);
    for (unsigned b : blocks) {
        current_block = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        fill(shared_begin, static_cast<std::size_t>(shared_end - shared_begin), 0xff);
        fill(dynamic_, shared_bytes, 0xff);
        run_block(threads);
        check_guards();
    }
    close_dynamic();
}

}  // namespace cuda_host
