/* What the fake libraries share. libcudart.so.13 has the core, and the others link against it. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int64_t ns_t;

struct counters { /* since the process began; Python reads them through ctypes: keep driver.py in step */
    int64_t launches, busy_ns;                                     /* queued operations, and how long they take in all */
    int64_t stream_syncs, device_syncs, event_syncs, event_queries; /* asked by the program, whether they had to wait or not */
    int64_t blocking_copies;                                       /* to or from pageable memory: the host waits for the stream */
    int64_t small_uploads;                                         /* from pageable memory, at most 64 KiB: staged, the host does not wait */
    int64_t mallocs, frees;                                        /* cudaMalloc, and cudaFree, which waits for the device */
    int64_t stalled_ns, queue_full_ns;                             /* the host waited: in a sync, for room in the queue */
    int64_t graph_launches, stubs;                                 /* stubs: calls of functions that nobody wrote */
};

void fake_work(void *stream, ns_t ns, const char *name); /* queue an operation that takes so long */
ns_t fake_flops(double flops);                           /* how long a matmul takes */
int fake_stub(const char *name);                         /* says once that it is missing where FAKE_CUDA_VERBOSE is set; returns 0 */
double fake_env(const char *name, double otherwise);
int fake_started(void);                                  /* the program has called the runtime */

/* For CUPTI: what was done, while it listens. */
struct done { ns_t start, end; const char *name; int stream; };
extern void (*fake_listener)(const struct done *);
ns_t fake_now(void);
