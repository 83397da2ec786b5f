/* Includes LOOPS once for each kind of processor, as functions of that kind: in functions that target_clones copies, vectors of
 * a fixed length are cut up for the oldest one. FOR(name) is a name there, BEST(name) the one for the processor it runs on. */
#define FOR(name) name##_any
#define LANES 4
#include LOOPS
#undef LANES
#undef FOR

#if defined(KINDS)
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define FOR(name) name##_v3
#define LANES 8
#include LOOPS
#undef LANES
#undef FOR
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define FOR(name) name##_v4
#define LANES 16
#include LOOPS
#undef LANES
#undef FOR
#pragma GCC pop_options
#define BEST(name) (__builtin_cpu_supports("x86-64-v4") ? name##_v4 : __builtin_cpu_supports("x86-64-v3") ? name##_v3 : name##_any)
#else
#define BEST(name) name##_any
#endif
