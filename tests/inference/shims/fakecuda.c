// A fake NVIDIA GPU: driver (libcuda.so.1), cuBLAS and cuRAND in one library, for machines that have none. Device memory is
// host memory. The kernels that the worker launches are plain loops here, so that candle's CUDA code runs as it is, from
// the launch parameters to the copies, and gives numbers that can be compared. Only what the worker uses is there; another
// kernel ends the process with its name.
//
// The file that FAKE_CUDA names rules it, and is read again whenever it changes. A line is KEY=NUMBER:
//   devices, cc (80), driver (13000), memory (bytes)
//   compute=0          kernels and products do nothing: their outputs keep what the memory held
//   wrong=1            quantised products come out a tenth too small
//   fail.FUNCTION=CODE calls of that function give this CUresult; the codes that are sticky on real GPUs stay for all calls
//   times.FUNCTION=N   … but only so many
//   runtime=CODE       what cudaGetLastError says
//   log=1              names every launch on standard error
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef int result;
typedef uintptr_t device_pointer;
typedef _Float16 half;

enum { OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// ---- What the control file says -------------------------------------------------------------------------------------

static struct { char key[64]; long long value; } keys[64];
static int key_count;

static void reread(void) {
    static struct timespec seen;
    static off_t seen_size = -1;
    struct stat now;
    const char *path = getenv("FAKE_CUDA");
    if (!path || stat(path, &now) != 0) return;
    if (now.st_mtim.tv_sec == seen.tv_sec && now.st_mtim.tv_nsec == seen.tv_nsec && now.st_size == seen_size) return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    char line[256];
    key_count = 0;
    while (key_count < 64 && fgets(line, sizeof line, file)) {
        char *equals = strchr(line, '=');
        if (!equals) continue;
        *equals = 0;
        snprintf(keys[key_count].key, sizeof keys[0].key, "%.63s", line);
        keys[key_count++].value = strtoll(equals + 1, NULL, 0);
    }
    fclose(file);
    seen = now.st_mtim;
    seen_size = now.st_size;
}

static long long *key(const char *name) {
    for (int i = 0; i < key_count; i++)
        if (!strcmp(keys[i].key, name)) return &keys[i].value;
    return NULL;
}

static long long number(const char *name, long long otherwise) {
    long long *found = key(name);
    return found ? *found : otherwise;
}

static result gate(const char *function) {
    static result broken;
    char name[96];
    pthread_mutex_lock(&lock);
    reread();
    result code = broken;
    if (!code) {
        snprintf(name, sizeof name, "fail.%s", function);
        code = (result)number(name, 0);
        snprintf(name, sizeof name, "times.%s", function);
        long long *left = key(name);
        if (code && left && (*left)-- <= 0) code = 0;
        if (code == 214 || code == 700 || code == 710 || (code >= 714 && code <= 719)) broken = code;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

#define GATE()                             \
    do {                                   \
        result failed = gate(__func__);    \
        if (failed) return failed;         \
    } while (0)

// ---- Driver: device, context, streams, events ------------------------------------------------------------------------

static int some_thing;

result cuInit(unsigned flags) { (void)flags; GATE(); return number("devices", 1) > 0 ? 0 : NO_DEVICE; }
result cuDriverGetVersion(int *version) { GATE(); *version = (int)number("driver", 13000); return 0; }
result cuDeviceGetCount(int *count) { GATE(); *count = (int)number("devices", 1); return 0; }
result cuDeviceGet(int *device, int ordinal) {
    GATE();
    if (ordinal >= number("devices", 1)) return INVALID_DEVICE;
    *device = ordinal;
    return 0;
}
result cuDeviceGetName(char *name, int length, int device) { (void)device; GATE(); snprintf(name, (size_t)length, "Fake GPU"); return 0; }
result cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; GATE(); *bytes = (size_t)number("memory", 4LL << 30); return 0; }
result cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    GATE();
    int cc = (int)number("cc", 80);
    switch (attribute) {
        case 75: *value = cc / 10; break;    // compute capability, major
        case 76: *value = cc % 10; break;    // minor
        case 115: *value = 1; break;         // memory pools
        case 16: *value = 58; break;         // multiprocessors
        case 10: *value = 32; break;         // warp
        default: *value = 1024;
    }
    return 0;
}
result cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; GATE(); *context = &some_thing; return 0; }
result cuDevicePrimaryCtxRelease_v2(int device) { (void)device; GATE(); return 0; }
static void *current;
result cuCtxSetCurrent(void *context) { GATE(); current = context; return 0; }
result cuCtxGetCurrent(void **context) { GATE(); *context = current; return 0; }
result cuCtxSynchronize(void) { GATE(); return 0; }
result cuStreamCreate(void **stream, unsigned flags) { (void)flags; GATE(); *stream = malloc(8); return 0; }
result cuStreamDestroy_v2(void *stream) { GATE(); free(stream); return 0; }
result cuStreamSynchronize(void *stream) { (void)stream; GATE(); return 0; }
result cuStreamWaitEvent(void *stream, void *event, unsigned flags) { (void)stream, (void)event, (void)flags; GATE(); return 0; }
result cuStreamIsCapturing(void *stream, int *status) { (void)stream; GATE(); *status = 0; return 0; }
result cuEventCreate(void **event, unsigned flags) { (void)flags; GATE(); *event = malloc(8); return 0; }
result cuEventRecord(void *event, void *stream) { (void)event, (void)stream; GATE(); return 0; }
result cuEventSynchronize(void *event) { (void)event; GATE(); return 0; }
result cuEventDestroy_v2(void *event) { GATE(); free(event); return 0; }
result cuGetErrorName(result code, const char **name) { (void)code; *name = "FAKE_ERROR"; return 0; }
result cuGetErrorString(result code, const char **text) { (void)code; *text = "an error of the fake driver"; return 0; }

// ---- Driver: memory --------------------------------------------------------------------------------------------------

static size_t used;
enum { HEADER = 64 };

static result take(device_pointer *pointer, size_t bytes) {
    result code = 0;
    pthread_mutex_lock(&lock);
    if (used + bytes > (size_t)number("memory", 4LL << 30)) {
        code = OUT_OF_MEMORY;
    } else {
        char *whole = calloc(1, bytes + HEADER);
        *(size_t *)whole = bytes;
        used += bytes;
        *pointer = (device_pointer)(whole + HEADER);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

static void give(device_pointer pointer) {
    if (!pointer) return;
    pthread_mutex_lock(&lock);
    char *whole = (char *)pointer - HEADER;
    used -= *(size_t *)whole;
    free(whole);
    pthread_mutex_unlock(&lock);
}

result cuMemAlloc_v2(device_pointer *pointer, size_t bytes) { GATE(); return take(pointer, bytes); }
result cuMemAllocAsync(device_pointer *pointer, size_t bytes, void *stream) { (void)stream; GATE(); return take(pointer, bytes); }
result cuMemFree_v2(device_pointer pointer) { give(pointer); GATE(); return 0; }
result cuMemFreeAsync(device_pointer pointer, void *stream) { (void)stream; give(pointer); GATE(); return 0; }
result cuMemGetInfo_v2(size_t *left, size_t *total) { GATE(); *total = (size_t)number("memory", 4LL << 30); *left = *total - used; return 0; }
result cuMemsetD8Async(device_pointer to, unsigned char value, size_t bytes, void *stream) { (void)stream; GATE(); memset((void *)to, value, bytes); return 0; }
result cuMemsetD8_v2(device_pointer to, unsigned char value, size_t bytes) { GATE(); memset((void *)to, value, bytes); return 0; }
result cuMemcpyHtoDAsync_v2(device_pointer to, const void *from, size_t bytes, void *stream) { (void)stream; GATE(); memcpy((void *)to, from, bytes); return 0; }
result cuMemcpyDtoHAsync_v2(void *to, device_pointer from, size_t bytes, void *stream) { (void)stream; GATE(); memcpy(to, (void *)from, bytes); return 0; }
result cuMemcpyDtoDAsync_v2(device_pointer to, device_pointer from, size_t bytes, void *stream) { (void)stream; GATE(); memcpy((void *)to, (void *)from, bytes); return 0; }

// ---- Quantised weights and products ----------------------------------------------------------------------------------

enum { BLOCK = 32 };

typedef struct { const char *name; size_t bytes; } weights_kind;
static const weights_kind KINDS[] = {{"q4_0", 18}, {"q4_1", 20}, {"q5_0", 22}, {"q5_1", 24}, {"q8_0", 34}};

static const weights_kind *kind_in(const char *name) {
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strstr(name, KINDS[i].name) && !strstr(name, "quantize")) return &KINDS[i];
    return NULL;
}

static half half_at(const unsigned char *bytes) { half value; memcpy(&value, bytes, 2); return value; }

// A block of weights as w = scale * q + offset.
static void unpack(const weights_kind *kind, const unsigned char *block, int8_t *q, float *scale, float *offset) {
    *scale = (float)half_at(block);
    *offset = 0;
    if (kind->name[1] == '8') {
        memcpy(q, block + 2, BLOCK);
        return;
    }
    int with_offset = kind->name[3] == '1', fifth = kind->name[1] == '5';
    const unsigned char *at = block + 2;
    if (with_offset) { *offset = (float)half_at(at); at += 2; }
    uint32_t high = 0;
    if (fifth) { memcpy(&high, at, 4); at += 4; }
    for (int i = 0; i < BLOCK / 2; i++) {
        q[i] = (int8_t)((at[i] & 15) | (high >> i & 1) << 4);
        q[i + BLOCK / 2] = (int8_t)(at[i] >> 4 | (high >> (i + 16) & 1) << 4);
    }
    if (!with_offset) for (int i = 0; i < BLOCK; i++) q[i] = (int8_t)(q[i] - (fifth ? 16 : 8));
}

// Rounded activations: what fits where the real kernels keep theirs, in an order of our own.
typedef struct { float scale; int8_t q[BLOCK]; } rounded;

static void round_rows(const float *x, rounded *out, long columns, long padded, long rows) {
    for (long row = 0; row < rows; row++)
        for (long block = 0; block < padded / BLOCK; block++) {
            rounded *to = &out[row * (padded / BLOCK) + block];
            float most = 0;
            for (long i = block * BLOCK; i < (block + 1) * BLOCK && i < columns; i++) most = fmaxf(most, fabsf(x[row * columns + i]));
            to->scale = most / 127;
            for (long i = 0; i < BLOCK; i++) {
                long at = block * BLOCK + i;
                to->q[i] = at < columns && most > 0 ? (int8_t)roundf(x[row * columns + at] / to->scale) : 0;
            }
        }
}

static void multiply(const weights_kind *kind, const unsigned char *weights, const rounded *x, float *out, long columns, long outputs, long blocks_per_row, long out_stride, long rows) {
    long blocks = columns / BLOCK;
    int8_t *q = malloc((size_t)columns);
    float *scale = malloc((size_t)blocks * 4), *offset = malloc((size_t)blocks * 4);
    float factor = number("wrong", 0) ? 0.9f : 1.0f;
    for (long output = 0; output < outputs; output++) {
        for (long b = 0; b < blocks; b++)
            unpack(kind, weights + (size_t)(output * blocks + b) * kind->bytes, q + b * BLOCK, scale + b, offset + b);
        for (long row = 0; row < rows; row++) {
            const rounded *from = x + row * blocks_per_row;
            float sum = 0;
            for (long b = 0; b < blocks; b++) {
                int product = 0, total = 0;
                for (int i = 0; i < BLOCK; i++) {
                    product += q[b * BLOCK + i] * from[b].q[i];
                    total += from[b].q[i];
                }
                sum += from[b].scale * (scale[b] * (float)product + offset[b] * (float)total);
            }
            out[row * out_stride + output] = sum * factor;
        }
    }
    free(q), free(scale), free(offset);
}

static void unknown(const char *name) {
    fprintf(stderr, "the fake GPU doesn't know the kernel %s\n", name);
    exit(3);
}

// Called by the stand-ins for the launchers that a real build links.
void fake_launch(const char *name, long *a);
void fake_launch(const char *name, long *a) {
    reread();
    if (number("log", 0)) fprintf(stderr, "launch %s\n", name);
    if (!number("compute", 1)) return;
    const weights_kind *kind = kind_in(name);
    if (!strcmp(name, "launch_mmvq_gguf_quantize_q8_1_f32"))
        round_rows((float *)a[0], (rounded *)a[1], (int)a[2], (int)a[3], (int)a[4]);
    else if (!strncmp(name, "launch_mmq_quantize_q8_1_", 25))
        round_rows((float *)a[0], (rounded *)a[2], a[4], a[8], a[9]);
    else if (kind && strstr(name, "launch_mmvq_gguf_") && strstr(name, "_f32_plain"))
        multiply(kind, (void *)a[0], (rounded *)a[1], (float *)a[2], (int)a[3], (int)a[4], (int)a[5], (int)a[6], (int)a[7]);
    else if (kind && strstr(name, "launch_mmq_gguf_"))
        // The rows of rounded activations are padded to a multiple of 512.
        multiply(kind, (void *)a[1], (rounded *)a[2], (float *)a[3], a[4], a[5], (a[4] + 511) / 512 * 512 / BLOCK, a[8], a[6]);
    else
        unknown(name);
}

int fake_last_error(void);
int fake_last_error(void) { reread(); return (int)number("runtime", 0); }

// ---- Kernels ---------------------------------------------------------------------------------------------------------

result cuModuleLoadData(void **module, const void *image) { (void)image; GATE(); *module = malloc(8); return 0; }
result cuModuleUnload(void *module) { GATE(); free(module); return 0; }
result cuModuleGetFunction(void **function, void *module, const char *name) { (void)module; GATE(); *function = strdup(name); return 0; }
result cuFuncSetAttribute(void *function, int attribute, int value) { (void)function, (void)attribute, (void)value; GATE(); return 0; }

#define ARGUMENT(type, i) (*(type *)arguments[i])

// Where element i of a tensor lies. Without dimensions it is contiguous.
static size_t place(size_t i, size_t dimensions, const size_t *lengths, const size_t *strides) {
    if (!lengths) return i;
    size_t at = 0;
    for (size_t d = dimensions; d-- > 0; i /= lengths[d]) at += i % lengths[d] * strides[d];
    return at;
}

#define EACH(count) for (size_t i = 0; i < (count); i++)
#define MAPPED(from_type, to_type, expression)                                                                  \
    do {                                                                                                        \
        size_t dimensions = ARGUMENT(size_t, 1);                                                                \
        const size_t *shape = ARGUMENT(size_t *, 2);                                                            \
        const from_type *from = ARGUMENT(from_type *, 3);                                                       \
        to_type *to = ARGUMENT(to_type *, 4);                                                                   \
        EACH(ARGUMENT(size_t, 0)) { from_type x = from[place(i, dimensions, shape, shape + dimensions)]; to[i] = (to_type)(expression); } \
    } while (0)
#define PAIRED(expression)                                                                                      \
    do {                                                                                                        \
        size_t dimensions = ARGUMENT(size_t, 1);                                                                \
        const size_t *shape = ARGUMENT(size_t *, 2);                                                            \
        const float *left = ARGUMENT(float *, 3), *right = ARGUMENT(float *, 4);                                \
        float *to = ARGUMENT(float *, 5);                                                                       \
        EACH(ARGUMENT(size_t, 0)) {                                                                             \
            float x = left[place(i, dimensions, shape, shape + dimensions)];                                    \
            float y = right[place(i, dimensions, shape, shape + 2 * dimensions)];                               \
            to[i] = (expression);                                                                               \
        }                                                                                                       \
    } while (0)
#define SELECTED(type)                                                                                          \
    do {                                                                                                        \
        const uint32_t *ids = ARGUMENT(uint32_t *, 3);                                                          \
        const type *from = ARGUMENT(type *, 4);                                                                 \
        type *to = ARGUMENT(type *, 5);                                                                         \
        size_t sources = ARGUMENT(size_t, 7), selected = ARGUMENT(size_t, 8), right = ARGUMENT(size_t, 9);      \
        EACH(ARGUMENT(size_t, 0)) to[i] = from[(i / (selected * right) * sources + ids[i / right % selected]) * right + i % right]; \
    } while (0)

static void scatter(void **arguments) {
    const uint32_t *ids = ARGUMENT(uint32_t *, 0);
    const half *from = ARGUMENT(half *, 1);
    half *to = ARGUMENT(half *, 2);
    size_t left = ARGUMENT(size_t, 3), sources = ARGUMENT(size_t, 4), targets = ARGUMENT(size_t, 5), right = ARGUMENT(size_t, 6);
    EACH(left * sources * right) to[(i / (sources * right) * targets + ids[i]) * right + i % right] = from[i];
}

static void copy_rows(void **arguments) {
    const float *from = ARGUMENT(float *, 0);
    float *to = ARGUMENT(float *, 1);
    size_t rows = ARGUMENT(uint32_t, 2), columns = ARGUMENT(uint32_t, 3), from_stride = ARGUMENT(uint32_t, 4), to_stride = ARGUMENT(uint32_t, 5);
    EACH(rows) memcpy(to + i * to_stride, from + i * from_stride, columns * sizeof *to);
}

static void normalise(void **arguments, unsigned rows) {
    const float *from = ARGUMENT(float *, 0), *factors = ARGUMENT(float *, 2);
    float *to = ARGUMENT(float *, 1);
    int columns = ARGUMENT(int, 3);
    float epsilon = ARGUMENT(float, 5);
    for (unsigned row = 0; row < rows; row++, from += columns, to += columns) {
        float sum = 0;
        EACH((size_t)columns) sum += from[i] * from[i];
        float scale = 1 / sqrtf(sum / (float)columns + epsilon);
        EACH((size_t)columns) to[i] = from[i] * scale * factors[i];
    }
}

static void soften(void **arguments, unsigned rows) {
    const float *from = ARGUMENT(float *, 0);
    float *to = ARGUMENT(float *, 1);
    int columns = ARGUMENT(int, 2);
    for (unsigned row = 0; row < rows; row++, from += columns, to += columns) {
        float most = -INFINITY, sum = 0;
        EACH((size_t)columns) most = fmaxf(most, from[i]);
        EACH((size_t)columns) sum += to[i] = expf(from[i] - most);
        EACH((size_t)columns) to[i] /= sum;
    }
}

static void rotate(void **arguments, int neighbours) {
    const float *from = ARGUMENT(float *, 0), *cosines = ARGUMENT(float *, 1), *sines = ARGUMENT(float *, 2);
    float *to = ARGUMENT(float *, 3);
    size_t heads = ARGUMENT(uint32_t, 4), each = ARGUMENT(uint32_t, 5);
    size_t size = neighbours ? each : ARGUMENT(uint32_t, 6), batch = ARGUMENT(uint32_t, neighbours ? 6 : 7);
    EACH(heads * each / 2) {
        size_t head = i / (each / 2), inside = i % (each / 2), angle = inside + (batch ? 2 * i / batch * (each / 2) : 0);
        size_t first = neighbours ? 2 * i : head * each + inside / (size / 2) * size + inside % (size / 2);
        size_t second = first + (neighbours ? 1 : size / 2);
        float a = from[first], b = from[second];
        to[first] = a * cosines[angle] - b * sines[angle];
        to[second] = a * sines[angle] + b * cosines[angle];
    }
}

static void expand_rows(const weights_kind *kind, void **arguments, unsigned rows) {
    const unsigned char *weights = ARGUMENT(unsigned char *, 0);
    const uint32_t *ids = ARGUMENT(uint32_t *, 1);
    float *to = ARGUMENT(float *, 2);
    long columns = ARGUMENT(long, 3);
    size_t stride = ARGUMENT(size_t, 4);
    int8_t q[BLOCK];
    float scale, offset;
    for (unsigned row = 0; row < rows; row++)
        for (long block = 0; block < columns / BLOCK; block++) {
            unpack(kind, weights + ids[row] * stride + (size_t)block * kind->bytes, q, &scale, &offset);
            EACH(BLOCK) to[row * (size_t)columns + (size_t)block * BLOCK + i] = scale * (float)q[i] + offset;
        }
}

result cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream, void **arguments, void **extra) {
    (void)y, (void)z, (void)bx, (void)by, (void)bz, (void)shared, (void)stream, (void)extra;
    GATE();
    const char *name = function;
    if (number("log", 0)) fprintf(stderr, "launch %s\n", name);
    if (!number("compute", 1)) return 0;
    if (!strcmp(name, "badd_f32")) PAIRED(x + y);
    else if (!strcmp(name, "bmul_f32")) PAIRED(x * y);
    else if (!strcmp(name, "usilu_f32")) MAPPED(float, float, x / (1 + expf(-x)));
    else if (!strcmp(name, "affine_f32")) { float mul = ARGUMENT(float, 5), add = ARGUMENT(float, 6); MAPPED(float, float, x * mul + add); }
    else if (!strcmp(name, "cast_f32_f16")) MAPPED(float, half, x);
    else if (!strcmp(name, "cast_f16_f32")) MAPPED(half, float, x);
    else if (!strcmp(name, "ucopy_f32")) MAPPED(float, float, x);
    else if (!strcmp(name, "ucopy_f16")) MAPPED(half, half, x);
    else if (!strcmp(name, "ucopy_u32")) MAPPED(uint32_t, uint32_t, x);
    else if (!strcmp(name, "is_u32_f32")) SELECTED(float);
    else if (!strcmp(name, "is_u32_f16")) SELECTED(half);
    else if (!strcmp(name, "s_u32_f16")) scatter(arguments);
    else if (!strcmp(name, "copy2d_f32")) copy_rows(arguments);
    else if (!strcmp(name, "rmsnorm_f32")) normalise(arguments, x);
    else if (!strcmp(name, "softmax_f32")) soften(arguments, x);
    else if (!strcmp(name, "rope_i_f32")) rotate(arguments, 1);
    else if (!strcmp(name, "rope_f32")) rotate(arguments, 0);
    else if (!strncmp(name, "get_rows_", 9) && kind_in(name)) expand_rows(kind_in(name), arguments, x);
    else unknown(name);
    return 0;
}

// ---- cuBLAS and cuRAND -----------------------------------------------------------------------------------------------

result cublasCreate_v2(void **handle) { GATE(); *handle = malloc(8); return 0; }
result cublasDestroy_v2(void *handle) { free(handle); return 0; }
result cublasSetStream_v2(void *handle, void *stream) { (void)handle, (void)stream; GATE(); return 0; }
result cublasGemmStridedBatchedEx(void *handle, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int a_type, int lda, long long a_stride,
                                  const float *b, int b_type, int ldb, long long b_stride, const float *beta, float *c, int c_type, int ldc, long long c_stride,
                                  int count, int compute, int algorithm);
result cublasGemmStridedBatchedEx(void *handle, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int a_type, int lda, long long a_stride,
                                  const float *b, int b_type, int ldb, long long b_stride, const float *beta, float *c, int c_type, int ldc, long long c_stride,
                                  int count, int compute, int algorithm) {
    (void)handle, (void)compute, (void)algorithm;
    GATE();
    if (a_type || b_type || c_type || *beta != 0) unknown("gemm of other than single precision");
    if (!number("compute", 1)) return 0;
    for (int batch = 0; batch < count; batch++, a += a_stride, b += b_stride, c += c_stride)
        for (int column = 0; column < n; column++)
            for (int row = 0; row < m; row++) {
                float sum = 0;
                for (int i = 0; i < k; i++) sum += (ta ? a[i + (long)row * lda] : a[row + (long)i * lda]) * (tb ? b[column + (long)i * ldb] : b[i + (long)column * ldb]);
                c[row + (long)column * ldc] = *alpha * sum;
            }
    return 0;
}
result curandCreateGenerator(void **generator, int kind) { (void)kind; GATE(); *generator = malloc(8); return 0; }
result curandDestroyGenerator(void *generator) { free(generator); return 0; }
result curandSetStream(void *generator, void *stream) { (void)generator, (void)stream; GATE(); return 0; }
result curandSetPseudoRandomGeneratorSeed(void *generator, unsigned long long seed) { (void)generator, (void)seed; GATE(); return 0; }
