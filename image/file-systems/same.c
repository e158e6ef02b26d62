/*
 * Preloaded into mkfs.btrfs, which has no options for all that it draws and reads: ids that count up from one,
 * and the build's date for the time. Both templates go onto disks under keys of their own, so that many
 * file systems have the same ids is seen by nobody.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

void uuid_generate(unsigned char id[16])
{
	static unsigned char last;

	memset(id, 0, 16);
	id[6] = 0x40; /* RFC 9562, version 4 */
	id[8] = 0x80; /* its variant */
	id[15] = ++last;
}

void uuid_generate_random(unsigned char id[16])
{
	uuid_generate(id);
}

time_t time(time_t *now)
{
	const char *date = getenv("SOURCE_DATE_EPOCH");
	time_t seconds;

	if (!date)
		abort();
	seconds = (time_t)strtoll(date, NULL, 10);
	if (now)
		*now = seconds;
	return seconds;
}

int gettimeofday(struct timeval *now, void *zone)
{
	(void)zone;
	now->tv_sec = time(NULL);
	now->tv_usec = 0;
	return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = time(NULL);
	now->tv_nsec = 0;
	return 0;
}
