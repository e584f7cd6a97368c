/* A stand-in for NVIDIA's management library (libnvidia-ml.so.1) with one card, whose readings a test writes into a file
 * that is read anew at every call. Built by the tests with cc; the declarations follow NVIDIA's documentation of NVML
 * (docs.nvidia.com/deploy/nvml-api), as far as the daemon uses it.
 *
 * NVML_SHIM_STATE   file of lines NAME=NUMBER (see below); a reading that is not in it is not supported
 * NVML_SHIM_EVENTS  file of XID numbers, one a line; each is delivered once
 *
 * absent=1          there is no card                hang=1            every call waits until it is 0 again
 * lost=1            the card fell off the bus       reset_required=1  the driver wants it reset
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, TIMEOUT = 10,
    GPU_IS_LOST = 15, RESET_REQUIRED = 16
};
enum { TEMPERATURE_SHUTDOWN = 0, TEMPERATURE_SLOWDOWN = 1 };
#define XID_EVENT 8ULL

typedef struct { int number; } *card_t;
typedef struct { int registered; } *events_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { card_t card; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event_t;

static struct { int number; } the_card;
static int users;
static long events_read;

static int look_up(const char *name, long long *value) {
    const char *path = getenv("NVML_SHIM_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256];
    size_t length = strlen(name);
    int found = 0;
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, length) && line[length] == '=') {
            *value = atoll(line + length + 1);
            found = 1;
        }
    if (file) fclose(file);
    return found;
}

static int is_set(const char *name) {
    long long value = 0;
    return look_up(name, &value) && value;
}

static void pause_a_little(void) {
    struct timespec time = {0, 5 * 1000 * 1000};
    nanosleep(&time, NULL);
}

/* What every call on the card begins with. */
static int begin(void) {
    while (is_set("hang")) pause_a_little();
    if (!users) return UNINITIALIZED;
    if (is_set("lost")) return GPU_IS_LOST;
    if (is_set("reset_required")) return RESET_REQUIRED;
    return SUCCESS;
}

#define READING(NAME, TYPE, OUT)                      \
    do {                                              \
        int code_ = begin();                          \
        long long value_;                             \
        if (code_) return code_;                      \
        if (!look_up(NAME, &value_)) return NOT_SUPPORTED; \
        *(OUT) = (TYPE)value_;                        \
        return SUCCESS;                               \
    } while (0)

static int text(const char *value, char *out, unsigned size) {
    int code = begin();
    if (code) return code;
    if (strlen(value) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

int nvmlInit_v2(void) { while (is_set("hang")) pause_a_little(); users++; return SUCCESS; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { if (!users) return UNINITIALIZED; users--; return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "a shim's error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return text("580.00.00", out, size); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, card_t *out) {
    if (!users) return UNINITIALIZED;
    if (index || is_set("absent")) return INVALID_ARGUMENT;
    *out = (card_t)&the_card;
    return begin();
}

int nvmlDeviceGetName(card_t card, char *out, unsigned size) { (void)card; return text("Test Card", out, size); }
int nvmlDeviceGetUUID(card_t card, char *out, unsigned size) { (void)card; return text("GPU-test-0001", out, size); }

int nvmlDeviceGetCudaComputeCapability(card_t card, int *major, int *minor) {
    long long value;
    int code = begin();
    (void)card;
    if (code) return code;
    if (!look_up("capability", &value)) return NOT_SUPPORTED;
    *major = (int)(value / 10);
    *minor = (int)(value % 10);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(card_t card, int sensor, unsigned *out) {
    (void)card, (void)sensor;
    READING("temperature", unsigned, out);
}

int nvmlDeviceGetTemperatureThreshold(card_t card, int which, unsigned *out) {
    (void)card;
    if (which == TEMPERATURE_SLOWDOWN) READING("slowdown_at", unsigned, out);
    if (which == TEMPERATURE_SHUTDOWN) READING("shutdown_at", unsigned, out);
    return NOT_SUPPORTED;
}

int nvmlDeviceGetMemoryInfo_v2(card_t card, memory_v2_t *out) {
    long long total, free;
    int code = begin();
    (void)card;
    if (code) return code;
    if (out->version != (sizeof *out | 2u << 24)) return INVALID_ARGUMENT;
    if (!look_up("memory_total", &total) || !look_up("memory_free", &free)) return NOT_SUPPORTED;
    out->total = total, out->free = free, out->used = total - free, out->reserved = 0;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(card_t card, utilization_t *out) {
    long long value;
    int code = begin();
    (void)card;
    if (code) return code;
    if (!look_up("utilization", &value)) return NOT_SUPPORTED;
    out->gpu = (unsigned)value, out->memory = 0;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(card_t card, unsigned *out) { (void)card; READING("power", unsigned, out); }
int nvmlDeviceGetEnforcedPowerLimit(card_t card, unsigned *out) { (void)card; READING("power_limit", unsigned, out); }
int nvmlDeviceGetFanSpeed_v2(card_t card, unsigned fan, unsigned *out) { (void)card, (void)fan; READING("fan", unsigned, out); }

int nvmlDeviceGetTotalEccErrors(card_t card, int kind, int counter, unsigned long long *out) {
    (void)card, (void)counter;
    if (kind) READING("ecc_uncorrected", unsigned long long, out);
    READING("ecc_corrected", unsigned long long, out);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(card_t card, unsigned long long *out) {
    (void)card;
    READING("throttle", unsigned long long, out);
}

int nvmlDeviceGetRemappedRows(card_t card, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    long long waits, failure;
    int code = begin();
    (void)card;
    if (code) return code;
    if (!look_up("remap_pending", &waits) || !look_up("remap_failed", &failure)) return NOT_SUPPORTED;
    *corrected = *uncorrected = 0;
    *pending = (unsigned)waits, *failed = (unsigned)failure;
    return SUCCESS;
}

int nvmlEventSetCreate(events_t *out) {
    *out = calloc(1, sizeof **out);
    return *out ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlDeviceRegisterEvents(card_t card, unsigned long long types, events_t set) {
    (void)card;
    set->registered = (types & XID_EVENT) != 0;
    return begin();
}

int nvmlEventSetFree(events_t set) { free(set); return SUCCESS; }

int nvmlEventSetWait_v2(events_t set, event_t *out, unsigned milliseconds) {
    const char *path = getenv("NVML_SHIM_EVENTS");
    for (unsigned waited = 0;; waited += 5) {
        FILE *file = path && set->registered ? fopen(path, "r") : NULL;
        char line[64];
        if (file && !fseek(file, events_read, SEEK_SET) && fgets(line, sizeof line, file) && strchr(line, '\n')) {
            events_read = ftell(file);
            fclose(file);
            memset(out, 0, sizeof *out);
            out->card = (card_t)&the_card;
            out->type = XID_EVENT;
            out->data = strtoull(line, NULL, 10);
            return SUCCESS;
        }
        if (file) fclose(file);
        if (begin()) return begin();
        if (waited >= milliseconds) return TIMEOUT;
        pause_a_little();
    }
}
