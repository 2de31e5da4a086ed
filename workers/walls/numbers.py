"""The numbers of the system calls that `syscalls` names, per machine.

From the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h; a test compares them with
the headers of the machine it runs on. A call that a machine does not have is left out there.
"""

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What the kernel calls a machine where it tells a filter (AUDIT_ARCH_...)."""

X86_64 = {
    "access": 21, "arch_prctl": 158, "brk": 12, "clock_getres": 229, "clock_gettime": 228, "clock_nanosleep": 230,
    "clone": 56, "clone3": 435, "close": 3, "close_range": 436, "dup": 32, "dup2": 33, "dup3": 292, "exit": 60, "exit_group": 231,
    "faccessat": 269, "faccessat2": 439, "fallocate": 285, "fcntl": 72, "fdatasync": 75, "fstat": 5, "fstatfs": 138,
    "fsync": 74, "ftruncate": 77, "futex": 202, "get_mempolicy": 239, "get_robust_list": 274, "getcpu": 309,
    "getcwd": 79, "getdents64": 217, "getegid": 108, "geteuid": 107, "getgid": 104, "getpgrp": 111, "getpid": 39,
    "getppid": 110, "getrandom": 318, "getrlimit": 97, "getrusage": 98, "gettid": 186, "gettimeofday": 96,
    "getuid": 102, "ioctl": 16, "kill": 62, "lseek": 8, "lstat": 6, "madvise": 28, "membarrier": 324, "mincore": 27,
    "mkdir": 83, "mkdirat": 258, "mmap": 9, "mprotect": 10, "mremap": 25, "msync": 26, "munmap": 11, "nanosleep": 35,
    "newfstatat": 262, "open": 2, "openat": 257, "poll": 7, "ppoll": 271, "prctl": 157, "pread64": 17,
    "prlimit64": 302, "pselect6": 270, "pwrite64": 18, "read": 0, "readlink": 89, "readlinkat": 267, "readv": 19,
    "rename": 82, "renameat": 264, "renameat2": 316, "restart_syscall": 219, "rseq": 334, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_getaffinity": 204, "sched_getparam": 143,
    "sched_getscheduler": 145, "sched_yield": 24, "select": 23, "set_robust_list": 273, "set_tid_address": 218,
    "sigaltstack": 131, "stat": 4, "statfs": 137, "statx": 332, "sysinfo": 99, "tgkill": 234, "time": 201, "times": 100,
    "uname": 63, "unlink": 87, "unlinkat": 263, "wait4": 61, "waitid": 247, "write": 1, "writev": 20,
}  # fmt: skip
AARCH64 = {
    "brk": 214, "clock_getres": 114, "clock_gettime": 113, "clock_nanosleep": 115, "clone": 220, "clone3": 435,
    "close": 57, "close_range": 436, "dup": 23, "dup3": 24, "exit": 93, "exit_group": 94, "faccessat": 48, "faccessat2": 439,
    "fallocate": 47, "fcntl": 25, "fdatasync": 83, "fstat": 80, "fstatfs": 44, "fsync": 82, "ftruncate": 46,
    "futex": 98, "get_mempolicy": 236, "get_robust_list": 100, "getcpu": 168, "getcwd": 17, "getdents64": 61,
    "getegid": 177, "geteuid": 175, "getgid": 176, "getpid": 172, "getppid": 173, "getrandom": 278, "getrlimit": 163,
    "getrusage": 165, "gettid": 178, "gettimeofday": 169, "getuid": 174, "ioctl": 29, "kill": 129, "lseek": 62,
    "madvise": 233, "membarrier": 283, "mincore": 232, "mkdirat": 34, "mmap": 222, "mprotect": 226, "mremap": 216,
    "msync": 227, "munmap": 215, "nanosleep": 101, "newfstatat": 79, "openat": 56, "ppoll": 73, "prctl": 167,
    "pread64": 67, "prlimit64": 261, "pselect6": 72, "pwrite64": 68, "read": 63, "readlinkat": 78, "readv": 65,
    "renameat": 38, "renameat2": 276, "restart_syscall": 128, "rseq": 293, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "sched_getaffinity": 123, "sched_getparam": 121,
    "sched_getscheduler": 120, "sched_yield": 124, "set_robust_list": 99, "set_tid_address": 96, "sigaltstack": 132,
    "statfs": 43, "statx": 291, "sysinfo": 179, "tgkill": 131, "times": 153, "uname": 160, "unlinkat": 35,
    "wait4": 260, "waitid": 95, "write": 64, "writev": 66,
}  # fmt: skip
NUMBERS = {"x86_64": X86_64, "aarch64": AARCH64}
