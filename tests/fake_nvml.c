/* A libnvidia-ml.so.1 that says what the test wants. FAKE_NVML_0 and FAKE_NVML_1 each make a GPU: a list of key=value, where a value is
   a number, a list of numbers (a,b,c: one for each question, and the last one for ever), or an error of NVML (!3: not supported).
   dead_after=N loses the GPU after N questions. The GPUs are at 00000000:01:00.0 and 00000000:41:00.0; MIG-part is a slice of the first. FAKE_NVML_INIT is what nvmlInit answers. OLD leaves out what old drivers lack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef void *device;
enum { INVALID = 2, NOT_FOUND = 6, UNINITIALIZED = 1, LOST = 15 };

static int sessions, questions;
static struct { char key[48]; int asked; } seen[256];

static const char *words(device d) { return getenv(d == (device)1 ? "FAKE_NVML_0" : "FAKE_NVML_1"); }
static int there(device d) { return words(d) != NULL; }

/* Which of a list's values is due: how often this key was asked before. */
static int turn(device d, const char *key) {
    char name[48];
    snprintf(name, sizeof name, "%d%s", d == (device)1 ? 0 : 1, key);
    for (int i = 0; i < 256; i++) {
        if (!seen[i].key[0]) strcpy(seen[i].key, name);
        if (!strcmp(seen[i].key, name)) return seen[i].asked++;
    }
    return 0;
}

static const char *value_of(device d, const char *key) {
    size_t n = strlen(key);
    for (const char *at = words(d); at && *at; at = strchr(at, ' ') ? strchr(at, ' ') + 1 : "")
        if (!strncmp(at, key, n) && at[n] == '=') return at + n + 1;
    return NULL;
}

static int answer(device d, const char *key, u64 otherwise, u64 *out) {
    if (!sessions) return UNINITIALIZED;
    const char *dead = value_of(d, "dead_after"), *at = value_of(d, key);
    if (dead && questions++ >= atoi(dead)) return LOST;
    *out = otherwise;
    if (!at) return 0;
    for (int n = turn(d, key), end; n-- && at[end = strcspn(at, ", ")] == ',';) at += end + 1;
    if (*at == '!') return atoi(at + 1);
    *out = strtoull(at, NULL, 0);
    return 0;
}

static int small(device d, const char *key, u32 otherwise, u32 *out) {
    u64 value = 0;
    int code = answer(d, key, otherwise, &value);
    *out = (u32)value;
    return code;
}

int nvmlInitWithFlags(u32 flags) {
    int code = getenv("FAKE_NVML_INIT") ? atoi(getenv("FAKE_NVML_INIT")) : 0;
    if (!code && !sessions++) memset(seen, 0, sizeof seen), questions = 0;
    return code + 0 * flags;
}
/* Only torch asks these: its expandable segments need NVML. */
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlDeviceGetComputeRunningProcesses(void) { return 3; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return 0; }
int nvmlShutdown(void) { return sessions ? (sessions--, 0) : UNINITIALIZED; }
const char *nvmlErrorString(int code) { return code ? "an error" : "success"; }
int nvmlSystemGetDriverVersion(char *out, u32 n) { return snprintf(out, n, "999.1") < 0; }

int nvmlDeviceGetCount_v2(u32 *n) { *n = there((device)1) + there((device)2); return sessions ? 0 : UNINITIALIZED; }
int nvmlDeviceGetHandleByIndex_v2(u32 i, device *d) { *d = (device)(size_t)(i + 1); return i < 2 && there(*d) ? 0 : INVALID; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, device *d) {
    u32 domain, bus, slot, function;
    if (sscanf(id, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4 || domain || slot || function) return INVALID;
    *d = bus == 0x01 ? (device)1 : bus == 0x41 ? (device)2 : NULL;
    if (!*d || !there(*d)) return NOT_FOUND;
    u64 code;
    return value_of(*d, "handle") ? answer(*d, "handle", 0, &code) : 0;
}
int nvmlDeviceGetHandleByUUID(const char *id, device *d) {
    *d = (device)(!strcmp(id, "GPU-zero") ? 1L : !strcmp(id, "GPU-one") ? 2L : !strcmp(id, "MIG-part") ? 11L : 99L);
    return *d != (device)99L && there(*d == (device)11L ? (device)1L : *d) ? 0 : NOT_FOUND;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device slice, device *d) {
    *d = (device)1L;
    return slice == (device)11L ? 0 : INVALID;
}
struct pci { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(device d, struct pci *out) {
    memset(out, 0, sizeof *out);
    out->bus = d == (device)1 ? 0x01 : 0x41;
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
    return !sessions ? UNINITIALIZED : there(d) ? 0 : NOT_FOUND;
}

/* What joins the two GPUs: nvlinks=4, nvlink_to=2 (a switch), topology=10, p2p=0. */
int nvmlDeviceGetNvLinkState(device d, u32 link, u32 *out) {
    u32 links, code = small(d, "nvlinks", 0, &links);
    *out = link < links;
    return link < 18 ? (int)code : INVALID;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(device d, u32 link, u32 *out) { return link < 18 ? small(d, "nvlink_to", 0, out) : INVALID; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(device d, u32 link, struct pci *out) {
    return link < 18 ? nvmlDeviceGetPciInfo_v3(d == (device)1 ? (device)2 : (device)1, out) : INVALID;
}
int nvmlDeviceGetTopologyCommonAncestor(device a, device b, u32 *out) { return b ? small(a, "topology", 30, out) : INVALID; }
int nvmlDeviceGetP2PStatus(device a, device b, u32 index, u32 *out) { return b && index < 5 ? small(a, "p2p", 0, out) : INVALID; }

#define ONE(name, key, otherwise) int nvmlDeviceGet##name(device d, u32 *out) { return small(d, key, otherwise, out); }
#define KIND(name, key, otherwise) int nvmlDeviceGet##name(device d, u32 kind, u32 *out) { \
    char full[32]; snprintf(full, sizeof full, "%s%u", key, kind); return small(d, full, otherwise, out); }

ONE(EnforcedPowerLimit, "limit", 350000)
ONE(PowerManagementDefaultLimit, "limit_default", 350000)
ONE(PowerUsage, "power", 340000)
ONE(MaxPcieLinkGeneration, "gen_max", 4)
ONE(MaxPcieLinkWidth, "width_max", 16)
ONE(CurrPcieLinkGeneration, "gen", 4)
ONE(CurrPcieLinkWidth, "width", 16)
ONE(PersistenceMode, "persistence", 1)
KIND(MaxClockInfo, "clock_max", kind == 1 ? 2000 : 9501)
KIND(ClockInfo, "clock", kind == 1 ? 1900 : 9501)
KIND(Temperature, "temperature", 65)
KIND(TemperatureThreshold, "threshold", 90)
int nvmlDeviceGetPowerManagementLimitConstraints(device d, u32 *least, u32 *most) { *least = 100000; return small(d, "limit_max", 350000, most); }
int nvmlDeviceGetEccMode(device d, u32 *now, u32 *next) { int code = small(d, "ecc_mode", 1, now); *next = *now; return code; }
int nvmlDeviceGetTotalEccErrors(device d, u32 type, u32 counter, u64 *out) {
    return type != 1 ? INVALID : answer(d, counter ? "ecc_ever" : "ecc", 0, out);
}
int nvmlDeviceGetCurrentClocksThrottleReasons(device d, u64 *out) { return answer(d, "reasons", 0x4, out); }
int nvmlDeviceGetUtilizationRates(device d, u32 *out) { out[1] = 40; return small(d, "busy", 99, out); }
int nvmlDeviceGetMemoryInfo(device d, u64 *out) {  /* total, free, used with the driver's reserve */
    int code = answer(d, "used", 20ULL << 20, &out[2]);
    out[0] = 24ULL << 30, out[2] += 500ULL << 20, out[1] = out[0] - out[2];
    return code;
}

#ifndef OLD
ONE(GpuMaxPcieLinkGeneration, "gen_card", 4)
int nvmlDeviceGetCurrentClocksEventReasons(device d, u64 *out) { return answer(d, "reasons", 0x4, out); }
int nvmlDeviceGetTotalEnergyConsumption(device d, u64 *out) { return answer(d, "energy", 0, out); }
int nvmlDeviceGetMigMode(device d, u32 *now, u32 *next) { int code = small(d, "mig", 0, now); *next = *now; return code; }
int nvmlDeviceGetRemappedRows(device d, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    *corrected = *uncorrected = *pending = 0;
    return small(d, "rows_failed", 0, failed) ? 3 : small(d, "rows_pending", 0, pending);
}
int nvmlDeviceGetRetiredPagesPendingStatus(device d, u32 *out) { return small(d, "pages_pending", 0, out); }
struct memory_v2 { u32 version; u64 total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(device d, struct memory_v2 *out) {
    int code = answer(d, "used", 20ULL << 20, &out->used);
    out->total = 24ULL << 30, out->reserved = 500ULL << 20, out->free = out->total - out->reserved - out->used;
    return code;
}
#endif
