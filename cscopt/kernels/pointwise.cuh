// The arithmetic and the CUDA kernels of cupy.py; reference.py says what each computes.
//
// A plane is one map of one row. All above the line "Kernels" is plain C++ in one thread's terms: a host compiler
// takes it once __device__ and __forceinline__ are defined away. There are no #includes, because NVRTC has no
// headers of its own.

#define BODY __device__ __forceinline__

template <class R> struct alignas(2 * sizeof(R)) Complex {
    R re, im;
};

template <class T> struct RealOf { using Type = T; };
template <class R> struct RealOf<Complex<R>> { using Type = R; };
template <class T> using Real = typename RealOf<T>::Type;

template <class R> BODY Complex<R> operator+(Complex<R> a, Complex<R> b) {
    return {a.re + b.re, a.im + b.im};
}
template <class R> BODY Complex<R> operator-(Complex<R> a, Complex<R> b) {
    return {a.re - b.re, a.im - b.im};
}
template <class R> BODY Complex<R> operator-(Complex<R> a) { return {-a.re, -a.im}; }
template <class R> BODY Complex<R> operator*(R s, Complex<R> a) { return {s * a.re, s * a.im}; }
template <class R> BODY Complex<R> operator*(Complex<R> a, Complex<R> b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class R> BODY Complex<R> conj(Complex<R> a) { return {a.re, -a.im}; }

// Re(conj(a) b)
template <class R> BODY R inner(R a, R b) { return a * b; }
template <class R> BODY R inner(Complex<R> a, Complex<R> b) { return a.re * b.re + a.im * b.im; }

// |a|, without overflow inside
BODY float modulus(float a) { return a < 0 ? -a : a; }
BODY double modulus(double a) { return a < 0 ? -a : a; }
BODY float modulus(Complex<float> a) { return hypotf(a.re, a.im); }
BODY double modulus(Complex<double> a) { return hypot(a.re, a.im); }

// What the dual constraint bounds: |a|, or a itself for non-negative codes
template <class R> BODY R bounded(R a, bool nonnegative) { return nonnegative ? a : modulus(a); }
template <class R> BODY R bounded(Complex<R> a, bool) { return modulus(a); }

template <class R> BODY R larger(R a, R b) { return a < b ? b : a; }

// Soft threshold S_t(v)
template <class R> BODY R shrink(R v, R t, bool nonnegative) {
    if (v > t) return v - t;
    return !nonnegative && v < -t ? v + t : R(0);
}
template <class R> BODY Complex<R> shrink(Complex<R> v, R t, bool) {
    R size = modulus(v);
    return (size > t ? 1 - t / size : R(0)) * v;
}

// The lambda of one plane: a level times an optional weight map
template <class R> struct Lambda {
    R level;
    const R* weight;
    bool nonnegative;

    BODY R at(long long i) const { return weight ? level * weight[i] : level; }
};

// The coefficients of a plane that one thread handles
struct Span {
    long long begin, end, stride;
};

// max |a| / lambda, from 0 up
template <class T>
BODY void violation_span(const T* g, Lambda<Real<T>> lambda, Real<T> scale, Span span, Real<T>* sums) {
    for (long long i = span.begin; i < span.end; i += span.stride)
        sums[0] = larger(sums[0], bounded(scale * g[i], lambda.nonnegative) / lambda.at(i));
}

// x <- S(x - step scale g) and g <- x; sums: l1, change, violation
template <class T>
BODY void ista_span(T* __restrict__ x, T* __restrict__ g, Lambda<Real<T>> lambda, Real<T> step, Real<T> scale,
                    Span span, Real<T>* sums) {
    for (long long i = span.begin; i < span.end; i += span.stride) {
        Real<T> lam = lambda.at(i);
        T old = x[i], gradient = scale * g[i];
        T next = shrink(old - step * gradient, step * lam, lambda.nonnegative);
        x[i] = next;
        g[i] = next;
        sums[0] += lam * modulus(next);
        sums[1] += inner(next - old, next - old);
        sums[2] = larger(sums[2], bounded(-gradient, lambda.nonnegative) / lam);
    }
}

// One FISTA update of x and z, and g <- z; sums: l1, change, turn, violation
template <class T>
BODY void fista_span(T* __restrict__ x, T* __restrict__ z, T* __restrict__ g, Lambda<Real<T>> lambda,
                     Real<T> step, Real<T> momentum, Real<T> scale, Span span, Real<T>* sums) {
    for (long long i = span.begin; i < span.end; i += span.stride) {
        Real<T> lam = lambda.at(i);
        T old = x[i], point = z[i], gradient = scale * g[i];
        T next = shrink(point - step * gradient, step * lam, lambda.nonnegative);
        T ahead = next + momentum * (next - old);
        x[i] = next;
        z[i] = ahead;
        g[i] = ahead;
        sums[0] += lam * modulus(next);
        sums[1] += inner(next - point, next - point);
        sums[2] += inner(point - next, next - old);
        sums[3] = larger(sums[3], bounded(-gradient, lambda.nonnegative) / lam);
    }
}

// One ADMM update of v, and e <- 2y - v; sums: primal, dual, x, y, u, violation
template <class T>
BODY void admm_span(T* __restrict__ v, T* __restrict__ e, Lambda<Real<T>> lambda, Real<T> rho,
                    Real<T> relaxation, Real<T> scale, Span span, Real<T>* sums) {
    for (long long i = span.begin; i < span.end; i += span.stride) {
        Real<T> lam = lambda.at(i), threshold = lam / rho;
        T before = v[i], shift = scale * e[i];
        T old = shrink(before, threshold, lambda.nonnegative);
        T change = old - before + shift, x = old + change;
        T after = before + relaxation * change;
        T y = shrink(after, threshold, lambda.nonnegative);
        v[i] = after;
        e[i] = y + y - after;
        sums[0] += inner(x - y, x - y);
        sums[1] += inner(y - old, y - old);
        sums[2] += inner(x, x);
        sums[3] += inner(y, y);
        sums[4] += inner(after - y, after - y);
        sums[5] = larger(sums[5], bounded(shift, lambda.nonnegative) / lam);
    }
}

// y <- S(v) with the threshold factor lambda; sums: l1
template <class T>
BODY void proximal_span(const T* __restrict__ v, T* __restrict__ y, Lambda<Real<T>> lambda, Real<T> factor,
                        Span span, Real<T>* sums) {
    for (long long i = span.begin; i < span.end; i += span.stride) {
        Real<T> lam = lambda.at(i);
        T kept = shrink(v[i], factor * lam, lambda.nonnegative);
        y[i] = kept;
        sums[0] += lam * modulus(kept);
    }
}

// sums: l1
template <class T>
BODY void weighted_l1_span(const T* x, Lambda<Real<T>> lambda, Span span, Real<T>* sums) {
    for (long long i = span.begin; i < span.end; i += span.stride) sums[0] += lambda.at(i) * modulus(x[i]);
}

// sum over c of conj(filter_c) image_c at one frequency; channels are `frequencies` apart
template <class R>
BODY Complex<R> spread_at(const Complex<R>* filter, const Complex<R>* image, unsigned channels,
                          long long frequencies, long long f) {
    Complex<R> total = conj(filter[f]) * image[f];
    for (unsigned c = 1; c < channels; c++)
        total = total + conj(filter[c * frequencies + f]) * image[c * frequencies + f];
    return total;
}

// sum over k of filter_k map_k at one frequency, for one channel
template <class R>
BODY Complex<R> gather_at(const Complex<R>* filters, const Complex<R>* maps, unsigned count, unsigned channels,
                          long long frequencies, long long f) {
    Complex<R> total = {R(0), R(0)};
    for (unsigned k = 0; k < count; k++)
        total = total + filters[k * channels * frequencies + f] * maps[k * frequencies + f];
    return total;
}

// Kernels
//
// A block, one-dimensional and of whole warps, handles one of the `segments` of one plane. Sums leave it as one
// double each, and `total` adds the blocks in a fixed order: results repeat bit by bit, as with atomics they
// would not.

// Thread k of a block returns the block's k-th value: a sum for k < sums, else a maximum.
template <int N>
BODY double reduced(double (&value)[N], int sums) {
    __shared__ double warps[N][32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int k = 0; k < N; k++) {
        for (int offset = 16; offset > 0; offset /= 2) {
            double other = __shfl_down_sync(0xffffffffu, value[k], offset);
            value[k] = k < sums ? value[k] + other : larger(value[k], other);
        }
        if (lane == 0) warps[k][warp] = value[k];
    }
    __syncthreads();
    double result = 0;
    if (threadIdx.x < N)
        for (unsigned w = 0; w < blockDim.x / 32; w++) {
            double other = warps[threadIdx.x][w];
            result = int(threadIdx.x) < sums ? result + other : larger(result, other);
        }
    return result;
}

// Where a block is: which plane, counted from `first`, and what its threads handle there
struct Place {
    unsigned local, plane, row, map, segment;
    Span span;

    BODY Place(unsigned first, unsigned maps, long long pixels, unsigned segments)
        : local(blockIdx.x / segments), plane(first + local), row(plane / maps), map(plane % maps),
          segment(blockIdx.x % segments),
          span{(long long)segment * blockDim.x + threadIdx.x, pixels, (long long)segments * blockDim.x} {}
};

// The end of every pointwise kernel's parameters. Lambda: `level` (rows, maps), and `weight`, or null, at
// row * row_step + map * map_step. Partial sums: (values, planes * segments).
#define LAYOUT(T) \
    unsigned first, unsigned maps, long long pixels, unsigned segments, const Real<T>*__restrict__ level, \
        const Real<T>*__restrict__ weight, long long row_step, long long map_step, int nonnegative, \
        double *__restrict__ partial, long long partials

#define PLACE Place place(first, maps, pixels, segments)
#define LAMBDA(T) \
    Lambda<Real<T>> { \
        level[place.plane], weight ? weight + place.row * row_step + place.map * map_step : nullptr, \
            nonnegative != 0 \
    }

// Write a block's partial sums.
template <int N, class R>
BODY void keep(const R (&sums)[N], int additive, double* partial, long long partials, long long block) {
    double value[N];
    for (int k = 0; k < N; k++) value[k] = sums[k];
    double result = reduced(value, additive);
    if (threadIdx.x < N) partial[threadIdx.x * partials + block] = result;
}
#define KEEP(additive) \
    keep(sums, additive, partial, partials, (long long)place.plane * segments + place.segment)

template <class T>
__global__ void violation(const T* g, Real<T> scale, LAYOUT(T)) {
    PLACE;
    Real<T> sums[1] = {};
    violation_span(g + place.local * pixels, LAMBDA(T), scale, place.span, sums);
    KEEP(0);
}

template <class T>
__global__ void ista(T* x, T* g, const Real<T>* step, Real<T> scale, LAYOUT(T)) {
    PLACE;
    Real<T> sums[3] = {};
    ista_span(x + place.plane * pixels, g + place.local * pixels, LAMBDA(T), step[place.row], scale,
              place.span, sums);
    KEEP(2);
}

template <class T>
__global__ void fista(T* x, T* z, T* g, const Real<T>* step, const Real<T>* momentum, Real<T> scale,
                      LAYOUT(T)) {
    PLACE;
    Real<T> sums[4] = {};
    fista_span(x + place.plane * pixels, z + place.plane * pixels, g + place.local * pixels, LAMBDA(T),
               step[place.row], momentum[place.row], scale, place.span, sums);
    KEEP(3);
}

template <class T>
__global__ void admm(T* v, T* e, const Real<T>* rho, Real<T> relaxation, Real<T> scale, LAYOUT(T)) {
    PLACE;
    Real<T> sums[6] = {};
    admm_span(v + place.plane * pixels, e + place.local * pixels, LAMBDA(T), rho[place.row], relaxation, scale,
              place.span, sums);
    KEEP(5);
}

template <class T>
__global__ void proximal(const T* v, T* y, const Real<T>* factor, LAYOUT(T)) {
    PLACE;
    Real<T> sums[1] = {};
    proximal_span(v + place.plane * pixels, y + place.plane * pixels, LAMBDA(T), factor[place.row],
                  place.span, sums);
    KEEP(1);
}

template <class T>
__global__ void weighted_l1(const T* x, LAYOUT(T)) {
    PLACE;
    Real<T> sums[1] = {};
    weighted_l1_span(x + place.plane * pixels, LAMBDA(T), place.span, sums);
    KEEP(1);
}

// out (values, rows) from partial sums (values, rows, parts); a block each
__global__ void total(const double* partial, double* out, unsigned rows, long long parts, int sums) {
    bool adds = blockIdx.x / rows < unsigned(sums);
    double value[1] = {};
    for (long long i = threadIdx.x; i < parts; i += blockDim.x) {
        double other = partial[blockIdx.x * parts + i];
        value[0] = adds ? value[0] + other : larger(value[0], other);
    }
    double result = reduced(value, adds ? 1 : 0);
    if (threadIdx.x == 0) out[blockIdx.x] = result;
}

// Spectra of the planes from `first` on, `count` maps in each of `rows` rows. Rows change fastest from block
// to block, here and in `gather`, so that the filters are read from memory once for all rows.
template <class T>
__global__ void spread(const T* __restrict__ filters, const T* __restrict__ image, T* __restrict__ out,
                       unsigned first, unsigned rows, unsigned count, unsigned maps, unsigned channels,
                       long long frequencies, unsigned segments) {
    unsigned row = blockIdx.x % rows, rest = blockIdx.x / rows;
    unsigned segment = rest % segments, local = row * count + rest / segments;
    const T* filter = filters + ((first + local) % maps) * channels * frequencies;
    const T* source = image + ((first + local) / maps) * channels * frequencies;
    for (long long f = (long long)segment * blockDim.x + threadIdx.x; f < frequencies;
         f += (long long)segments * blockDim.x)
        out[local * frequencies + f] = spread_at(filter, source, channels, frequencies, f);
}

// The image's spectrum from those of the same planes, added to `out` where the row began in an earlier launch
template <class T>
__global__ void gather(const T* __restrict__ filters, const T* __restrict__ planes, T* __restrict__ out,
                       unsigned first, unsigned rows, unsigned count, unsigned maps, unsigned channels,
                       long long frequencies) {
    unsigned row = blockIdx.x % rows, rest = blockIdx.x / rows;
    unsigned channel = rest % channels, begin = first % maps;
    long long f = (long long)(rest / channels) * blockDim.x + threadIdx.x;
    if (f >= frequencies) return;
    const T* filter = filters + (begin * channels + channel) * frequencies;
    T sum = gather_at(filter, planes + row * count * frequencies, count, channels, frequencies, f);
    T& target = out[((first / maps + row) * channels + channel) * frequencies + f];
    target = begin > 0 ? target + sum : sum;
}
