/* What is compiled for any processor of its kind: which build this one can run, and what the library was made of. */
#include <stdint.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

/* Whether processor and operating system can run a build. */
EXPORTED int32_t processor_runs(const char *build) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!strcmp(build, "avx2")) return avx2;
  if (!strcmp(build, "avx512"))
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#elif defined(__aarch64__)
  if (!strcmp(build, "neon")) return 1;
#endif
  return 0;
}

EXPORTED const char *compiled_by(void) { return COMPILER; }
EXPORTED const char *compiled_from(void) { return SOURCES; }
