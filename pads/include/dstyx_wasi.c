/*
 * What wasi-libc would import: each function ends the program, because the sandbox of Pads has no
 * clock, no files, no arguments and no way out. Linked into a module, it imports no WASI.
 */
#include <stdint.h>

#define ABSENT(name, ...)                                            \
    int32_t __imported_wasi_snapshot_preview1_##name(__VA_ARGS__)    \
    {                                                                \
        __builtin_trap();                                            \
    }

ABSENT(args_get, int32_t a, int32_t b)
ABSENT(args_sizes_get, int32_t a, int32_t b)
ABSENT(clock_res_get, int32_t a, int32_t b)
ABSENT(clock_time_get, int32_t a, int64_t b, int32_t c)
ABSENT(environ_get, int32_t a, int32_t b)
ABSENT(environ_sizes_get, int32_t a, int32_t b)
ABSENT(fd_close, int32_t a)
ABSENT(fd_fdstat_get, int32_t a, int32_t b)
ABSENT(fd_fdstat_set_flags, int32_t a, int32_t b)
ABSENT(fd_filestat_get, int32_t a, int32_t b)
ABSENT(fd_prestat_dir_name, int32_t a, int32_t b, int32_t c)
ABSENT(fd_read, int32_t a, int32_t b, int32_t c, int32_t d)
ABSENT(fd_readdir, int32_t a, int32_t b, int32_t c, int64_t d, int32_t e)
ABSENT(fd_seek, int32_t a, int64_t b, int32_t c, int32_t d)
ABSENT(fd_write, int32_t a, int32_t b, int32_t c, int32_t d)
ABSENT(path_filestat_get, int32_t a, int32_t b, int32_t c, int32_t d, int32_t e)
ABSENT(path_open, int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int64_t f, int64_t g,
       int32_t h, int32_t i)
ABSENT(path_unlink_file, int32_t a, int32_t b, int32_t c)
ABSENT(random_get, int32_t a, int32_t b)
ABSENT(sched_yield, void)

/* There is no directory that was opened before: the error of a descriptor that is none. */
int32_t __imported_wasi_snapshot_preview1_fd_prestat_get(int32_t a, int32_t b)
{
    return 8;
}

void __imported_wasi_snapshot_preview1_proc_exit(int32_t status)
{
    __builtin_trap();
}
