/*
 * Preloaded into a process, moves its wall clock by the seconds in APUS_CLOCK_SHIFT.
 *
 * The times of files move with it, so that a file just written is still as young as it is. The
 * monotonic clock stays, and intervals and deadlines with it. (libfaketime also shifts absolute
 * sleeps on the monotonic clock, which fails in Python's time.sleep, and does not know statx.)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long shift_seconds;

__attribute__((constructor)) static void read_shift(void)
{
    const char *text = getenv("APUS_CLOCK_SHIFT");
    shift_seconds = text ? atoll(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, id, out);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        out->tv_sec += shift_seconds;
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return (time_t)-1;
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

static int shifted(int result, struct stat *out)
{
    if (result == 0) {
        out->st_atim.tv_sec += shift_seconds;
        out->st_mtim.tv_sec += shift_seconds;
        out->st_ctim.tv_sec += shift_seconds;
    }
    return result;
}

int fstatat(int folder, const char *restrict path, struct stat *restrict out, int flags)
{
    return shifted((int)syscall(SYS_newfstatat, folder, path, out, flags), out);
}

int stat(const char *restrict path, struct stat *restrict out)
{
    return fstatat(AT_FDCWD, path, out, 0);
}

int lstat(const char *restrict path, struct stat *restrict out)
{
    return fstatat(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}

int fstat(int file, struct stat *out)
{
    return shifted((int)syscall(SYS_fstat, file, out), out);
}

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict out)
{
    int result = (int)syscall(SYS_statx, folder, path, flags, mask, out);
    if (result == 0) {
        out->stx_atime.tv_sec += shift_seconds;
        out->stx_mtime.tv_sec += shift_seconds;
        out->stx_ctime.tv_sec += shift_seconds;
        out->stx_btime.tv_sec += shift_seconds;
    }
    return result;
}

static int set_times(int folder, const char *path, const struct timespec *times, int flags)
{
    struct timespec real[2];
    if (times == NULL)
        return (int)syscall(SYS_utimensat, folder, path, NULL, flags);
    for (int index = 0; index < 2; index++) {
        real[index] = times[index];
        if (real[index].tv_nsec != UTIME_NOW && real[index].tv_nsec != UTIME_OMIT)
            real[index].tv_sec -= shift_seconds;
    }
    return (int)syscall(SYS_utimensat, folder, path, real, flags);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags)
{
    return set_times(folder, path, times, flags);
}

int futimens(int file, const struct timespec times[2])
{
    return set_times(file, NULL, times, 0);
}
