/* What the peers share: the command line of raw-reference (benches/raw), the
 * payload, the counts, and the JSON object printed at the end.
 *
 * A program defines the five functions of its transport, which are declared
 * here, and calls peer_main(). */
#ifndef PEER_H
#define PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* before any header: clock_nanosleep, getrusage */
#endif

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { WARM_UP = 100, GIVE_UP = 10, DEFAULT_ROUNDS = 1000 };

static const double PATIENCE_S = 20, LINGER_S = 1, PONG_LINGER_S = 1.5, TIMEOUT_S = 1, SILENCE_S = 1e-3;

struct options {
    const char *role, *group, *interface;
    size_t size;
    double seconds, rate;
    uint64_t count;
    int port, hops, rcvbuf;
    bool spin;
};

struct tally {
    uint64_t msgs, end, bad;  /* end: one more than the highest number */
    uint64_t newest;          /* the last good number */
    double first, last;       /* when messages came */
    double cpu_first, cpu_last;
};

/* The transport: peer_open() opens what the role needs; peer_send() sends the
 * message to the channel of pings, or of echoes; peer_wait() hands what has
 * come to on_message(), after waiting for at most that long (0: not at all). */
static bool peer_open(const struct options *options);
static bool peer_send(bool echo, const uint8_t *message, size_t size);
static bool peer_wait(int timeout_ms);
static void peer_close(void);
static void on_message(const uint8_t *message, size_t size);

static struct options options;
static struct tally tally;
static uint8_t *payload;
static volatile sig_atomic_t stopped;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* User and system time of this process, all of its threads. */
static double cpu_time(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static uint64_t get_le64(const uint8_t *from) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | from[i];
    return value;
}

static void put_le64(uint8_t *to, uint64_t value) {
    for (int i = 0; i < 8; i++, value >>= 8) to[i] = (uint8_t)value;
}

static bool send_number(uint64_t number, bool echo) {
    put_le64(payload, number);
    if (options.size >= 16) put_le64(payload + options.size - 8, number);
    return peer_send(echo, payload, options.size);
}

/* Counts a message; says whether it is a good one. */
static bool count_message(const uint8_t *message, size_t size) {
    tally.last = now();
    if (tally.first == 0) {
        tally.first = tally.last;
        tally.cpu_first = cpu_time();
    }
    tally.cpu_last = 0;
    if (size != options.size || (size >= 16 && get_le64(message) != get_le64(message + size - 8))) {
        tally.bad++;
        return false;
    }
    tally.newest = get_le64(message);
    tally.msgs++;
    if (tally.newest >= tally.end) tally.end = tally.newest + 1;
    return true;
}

static uint64_t lost(void) { return tally.end > tally.msgs ? tally.end - tally.msgs : 0; }

/* The largest receive buffer among this process's UDP sockets: libraries do not
 * say what they were granted. Linux doubles what is set, for its own use. */
static int granted_rcvbuf(void) {
    int most = 0;
    for (int fd = 3; fd < 256; fd++) {
        int type = 0, bytes = 0;
        socklen_t len = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_DGRAM) continue;
        len = sizeof bytes;
        if (!getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len) && bytes / 2 > most) most = bytes / 2;
    }
    return most;
}

/* How many messages a library may queue before it drops some: as much as the
 * receive buffer holds. More only makes memory cold. */
static int queue_len(void) {
    size_t len = (size_t)options.rcvbuf / options.size;
    return len < 16 ? 16 : len > 10000 ? 10000 : (int)len;
}

static void report(uint64_t msgs, uint64_t missing, double seconds, double cpu) {
    double n = (double)msgs, bytes = n * (double)options.size, per = seconds > 0 ? 1 / seconds : 0;
    printf("{\"msgs\":%" PRIu64 ",\"bytes\":%.0f,\"lost\":%" PRIu64 ",\"bad\":%" PRIu64
           ",\"seconds\":%.6f,\"msgs_per_s\":%.1f,\"mb_per_s\":%.3f,\"cpu_ns_per_msg\":%.1f,\"rcvbuf\":%d",
           msgs, bytes, missing, tally.bad, seconds, n * per, bytes * per / 1e6,
           1e9 * cpu / (n > 0 ? n : 1), granted_rcvbuf());
}

static int finish(bool well) {
    printf("}\n");
    fflush(stdout);
    peer_close();
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void sleep_until(double when) {
    struct timespec t = {.tv_sec = (time_t)when, .tv_nsec = (long)(1e9 * (when - (double)(time_t)when))};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* The schedule is absolute: what a late wake-up missed is made up for. */
static int run_pub(void) {
    double cpu = cpu_time(), start = now(), end = start + options.seconds;
    uint64_t sent = 0;
    bool well = true;
    while (well && !stopped && sent < options.count && now() < end) {
        double due = options.rate > 0 ? start + (double)sent / options.rate : 0;
        if (due > now()) {
            sleep_until(due < end ? due : end);
        } else {
            well = send_number(sent, false);
            sent += well;
        }
    }
    report(sent, 0, now() - start, cpu_time() - cpu);
    return finish(well);
}

/* sub and pong: until it was silent for long enough. */
static int run_listener(double linger) {
    fprintf(stderr, "ready\n");
    double start = now();
    bool well = true;
    while (well && !stopped) {
        well = peer_wait(options.spin ? 0 : 100);
        double silent = now() - (tally.first > 0 ? tally.last : start);
        if (silent > SILENCE_S && tally.cpu_last == 0) tally.cpu_last = cpu_time();
        if (silent > (tally.first > 0 ? linger : PATIENCE_S)) break;
    }
    if (tally.cpu_last == 0) tally.cpu_last = cpu_time();
    double cpu = tally.first > 0 ? tally.cpu_last - tally.cpu_first : 0;
    report(tally.msgs, lost(), tally.last - tally.first, cpu);
    return finish(well);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The nearest rank: the smallest time that `share` of all do not exceed. */
static double quantile_us(const double *sorted, uint64_t n, double share) {
    double rank = share * (double)n;
    uint64_t index = (uint64_t)rank < rank ? (uint64_t)rank : (uint64_t)rank - 1;
    return n == 0 ? 0 : 1e6 * sorted[index < n ? index : n - 1];
}

/* Sends a message and waits for its echo; returns seconds, or -1 if it is lost. */
static double round_trip(uint64_t number) {
    uint64_t before = tally.msgs;
    double start = now();
    if (!send_number(number, false)) return -1;
    while (now() - start < TIMEOUT_S && !stopped) {
        if (!peer_wait(options.spin ? 0 : 100)) return -1;
        if (tally.msgs != before && tally.newest == number) return now() - start;
    }
    return -1;
}

static int run_ping(void) {
    double *times = calloc(options.count, sizeof *times), start = now(), cpu = cpu_time();
    uint64_t done = 0, missing = 0, in_row = 0;
    for (uint64_t i = 0; times && i < WARM_UP + options.count && in_row < GIVE_UP && !stopped; i++) {
        if (i == WARM_UP) {
            done = missing = 0;
            start = now();
            cpu = cpu_time();
        }
        double time = round_trip(i);
        in_row = time < 0 ? in_row + 1 : 0;
        missing += time < 0;
        if (time >= 0 && i >= WARM_UP) times[done++] = time;
    }
    report(done, missing, now() - start, cpu_time() - cpu);
    if (done > 0) qsort(times, done, sizeof *times, by_value);
    printf(",\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"max_us\":%.3f", quantile_us(times, done, 0.5),
           quantile_us(times, done, 0.99), quantile_us(times, done, 0.999), quantile_us(times, done, 1));
    free(times);
    return finish(in_row < GIVE_UP && done > 0);
}

static int usage(const char *what) {
    fprintf(stderr,
            "wrong: %s\nusage: PROG pub|sub|ping|pong [--size N] [--seconds S] [--rate R] [--count N] [--group ADDR]\n"
            "       [--port P] [--interface NAME] [--hops N] [--rcvbuf BYTES] [--spin] [--json]\n",
            what);
    return EXIT_FAILURE;
}

static bool is_role(const char *name) { return options.role && strcmp(options.role, name) == 0; }

static bool set_option(const char *name, const char *value) {
    char *rest = NULL;
    double number = strtod(value, &rest);
    bool numeric = *value && !*rest && number >= 0;
    if (!strcmp(name, "--group")) return options.group = value, true;
    if (!strcmp(name, "--interface")) return options.interface = value, true;
    if (!numeric) return false;
    if (!strcmp(name, "--size")) return options.size = (size_t)number, number >= 8;
    if (!strcmp(name, "--seconds")) return options.seconds = number, true;
    if (!strcmp(name, "--rate")) return options.rate = number, true;
    if (!strcmp(name, "--count")) return options.count = (uint64_t)number, true;
    if (!strcmp(name, "--port")) return options.port = (int)number, number < 65535;
    if (!strcmp(name, "--hops")) return options.hops = (int)number, number < 256;
    if (!strcmp(name, "--rcvbuf")) return options.rcvbuf = (int)number, number < 1 << 30;
    return false;
}

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

static int peer_main(int argc, char **argv) {
    options = (struct options){.role = argc > 1 ? argv[1] : NULL, .interface = "br0", .size = 64, .hops = 1, .rcvbuf = 4 << 20};
    if (!is_role("pub") && !is_role("sub") && !is_role("ping") && !is_role("pong")) return usage("the role");
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--spin")) options.spin = true;
        else if (strcmp(argv[i], "--json") && (i + 1 == argc || !set_option(argv[i], argv[i + 1]))) return usage(argv[i]);
        else if (strcmp(argv[i], "--json")) i++;
    }
    if (options.seconds == 0) options.seconds = options.count > 0 ? 600 : 2;
    if (options.count == 0) options.count = is_role("ping") ? DEFAULT_ROUNDS : UINT64_MAX;
    payload = malloc(options.size);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    if (!payload || !peer_open(&options)) return EXIT_FAILURE;
    memset(payload, 0xa5, options.size);
    if (is_role("pub")) return run_pub();
    if (is_role("ping")) return run_ping();
    return run_listener(is_role("pong") ? PONG_LINGER_S : LINGER_S);
}

#endif
