/* A CPU without AVX512, VNNI and AMX for an unmodified process: preloaded, its libraries take their AVX2 paths.
 *
 * Linux can make CPUID fault (ARCH_SET_CPUID: one thread, inherited by its threads and forks, reset by exec); the
 * handler then answers in CPUID's place. Where that is refused nothing changes, and cpu_mask_works() says which it is.
 * Refuses to be silently wrong: a process that replaces or blocks this SIGSEGV handler dies at its next CPUID.
 * Out of reach: what ld.so and libc asked before any library was loaded, and XGETBV, which cannot fault.
 */
#define _GNU_SOURCE

#ifdef __x86_64__
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { FEATURES = 7, AVX2 = 1 << 5, CPUID_BYTES = 2 }; /* the leaf, its bit of EBX, the length of 0F A2 */

struct registers { unsigned eax, ebx, ecx, edx; };

/* What leaf 7 says by subleaf, numbered as in Intel's Software Developer's Manual, volume 2A, "CPUID". */
#define BIT(number) (1u << (number))
static const struct registers HIDDEN[] = {
    {.ebx = BIT(16) | BIT(17) | BIT(21) | BIT(26)   /* AVX512: F, DQ, IFMA, PF */
          | BIT(27) | BIT(28) | BIT(30) | BIT(31),  /* AVX512: ER, CD, BW, VL */
     .ecx = BIT(1) | BIT(6) | BIT(11)               /* AVX512: VBMI, VBMI2, VNNI */
          | BIT(12) | BIT(14),                      /* AVX512: BITALG, VPOPCNTDQ */
     .edx = BIT(2) | BIT(3) | BIT(8) | BIT(23)      /* AVX512: 4VNNIW, 4FMAPS, VP2INTERSECT, FP16 */
          | BIT(22) | BIT(24) | BIT(25)},           /* AMX: BF16, TILE, INT8 */
    {.eax = BIT(4) | BIT(5) | BIT(21) | BIT(23),    /* AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA */
     .edx = BIT(4) | BIT(5) | BIT(8)                /* AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX */
          | BIT(10) | BIT(19)},                     /* AVX-VNNI-INT16, AVX10 */
};
enum { SUBLEAVES = sizeof HIDDEN / sizeof *HIDDEN };

static struct sigaction before;

static long allow_cpuid(long allowed) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, allowed); }

static struct registers answer(unsigned leaf, unsigned subleaf) {
    struct registers real;
    __cpuid_count(leaf, subleaf, real.eax, real.ebx, real.ecx, real.edx);
    if (leaf == FEATURES && subleaf < SUBLEAVES) {
        real.eax &= ~HIDDEN[subleaf].eax;
        real.ebx &= ~HIDDEN[subleaf].ebx;
        real.ecx &= ~HIDDEN[subleaf].ecx;
        real.edx &= ~HIDDEN[subleaf].edx;
    }
    return real;
}

/* A faulting instruction runs again, under the handler of before; a signal that a process sent is sent again. */
static void decline(int number, int code) {
    sigaction(number, &before, NULL);
    if (code <= 0) raise(number);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *cpu = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *instruction = (const unsigned char *)cpu[REG_RIP];
    if (info->si_code != SI_KERNEL || instruction[0] != 0x0F || instruction[1] != 0xA2) {
        decline(number, info->si_code);
        return;
    }
    allow_cpuid(1);
    struct registers told = answer((unsigned)cpu[REG_RAX], (unsigned)cpu[REG_RCX]);
    allow_cpuid(0);
    cpu[REG_RAX] = told.eax, cpu[REG_RBX] = told.ebx, cpu[REG_RCX] = told.ecx, cpu[REG_RDX] = told.edx;
    cpu[REG_RIP] += CPUID_BYTES;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&ours.sa_mask);
    if (allow_cpuid(0) == 0) sigaction(SIGSEGV, &ours, &before);
}

/* Whether this thread, asking as any library does, is told AVX2 and nothing hidden: masked, or a CPU with no more. */
int cpu_mask_works(void) {
    for (unsigned subleaf = 0; subleaf < SUBLEAVES; subleaf++) {
        struct registers told = {0};
        __get_cpuid_count(FEATURES, subleaf, &told.eax, &told.ebx, &told.ecx, &told.edx);
        const struct registers *hidden = &HIDDEN[subleaf];
        if (subleaf == 0 && !(told.ebx & AVX2)) return 0;
        if ((told.eax & hidden->eax) | (told.ebx & hidden->ebx)) return 0;
        if ((told.ecx & hidden->ecx) | (told.edx & hidden->edx)) return 0;
    }
    return 1;
}
#else
int cpu_mask_works(void) { return 0; }
#endif
