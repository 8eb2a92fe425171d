// Just enough of CUDA to run kernels on the host, one block at a time, each thread a fibre that runs from
// barrier to barrier. `launch` returns 1 where some threads of a block reach a barrier and others are done.

#include <cmath>
#include <functional>
#include <string>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __device__
#define __global__ static
#define __shared__ static
#define __forceinline__ inline

struct Index {
    unsigned x;
};
static Index threadIdx, blockIdx, blockDim;

static std::function<void()> body;
static std::vector<ucontext_t> fibres;
static std::vector<char> stacks, done;
static ucontext_t scheduler;

static void __syncthreads() { swapcontext(&fibres[threadIdx.x], &scheduler); }

template <class T>
T __shfl_down_sync(unsigned, T value, int offset) {
    static T lanes[1024];
    unsigned self = threadIdx.x;
    lanes[self] = value;
    __syncthreads();
    T other = self % 32 + offset < 32 ? lanes[self + offset] : value;
    __syncthreads();
    return other;
}

static void run_thread() {
    body();
    done[threadIdx.x] = 1;
    swapcontext(&fibres[threadIdx.x], &scheduler);
}

static int run_block() {
    const unsigned threads = blockDim.x, size = 1 << 16;
    fibres.resize(threads), stacks.resize(size * (size_t)threads), done.assign(threads, 0);
    for (unsigned t = 0; t < threads; t++) {
        getcontext(&fibres[t]);
        fibres[t].uc_stack.ss_sp = stacks.data() + size * (size_t)t;
        fibres[t].uc_stack.ss_size = size;
        fibres[t].uc_link = nullptr;
        makecontext(&fibres[t], run_thread, 0);
    }
    for (unsigned finished = 0; finished == 0;) {
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) swapcontext(&scheduler, &fibres[threadIdx.x]);
        for (char d : done) finished += d;
        if (finished > 0 && finished < threads) return 1;
    }
    return 0;
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}

template <class... A>
int launch(void (*kernel)(A...), unsigned blocks, unsigned threads, void** arguments) {
    body = [=] { call(kernel, arguments, std::index_sequence_for<A...>()); };
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        if (run_block()) return 1;
    return 0;
}

// NumPy's letter of a parameter's type, after a * for a pointer
template <class T> struct Letter;
template <class T> struct Letter<const T> : Letter<T> {};
template <class T> struct Letter<T*> { static std::string of() { return "*" + Letter<T>::of(); } };
template <> struct Letter<int> { static std::string of() { return "i"; } };
template <> struct Letter<unsigned> { static std::string of() { return "I"; } };
template <> struct Letter<long long> { static std::string of() { return "l"; } };
template <> struct Letter<float> { static std::string of() { return "f"; } };
template <> struct Letter<double> { static std::string of() { return "d"; } };

template <class... A>
const char* signature(void (*)(A...)) {
    static const std::string letters = ((Letter<A>::of() + " ") + ...);
    return letters.c_str();
}
