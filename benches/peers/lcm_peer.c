/* LCM behind the command line of raw-reference (benches/raw).
 *
 *     cc -std=c11 -O2 -Wall -Wextra -o lcm_peer lcm_peer.c -llcm      # Debian: liblcm-dev
 *
 * LCM speaks IPv4 and takes the interface from the routing table. In a private
 * network namespace, with the bridge br0 up:
 *
 *     ip addr add 10.0.0.1/24 dev br0; ip route add 224.0.0.0/4 dev br0
 *
 * --group (default 239.255.76.67) and --port (7667) are LCM's own, --hops its
 * ttl; an IPv6 group is left aside, and so is --interface. pub and ping publish
 * on the channel "ping", pong answers on "pong". */
#include "peer.h"

#include <lcm/lcm.h>

static lcm_t *lcm;

static void handle(const lcm_recv_buf_t *received, const char *channel, void *user) {
    (void)channel, (void)user;
    on_message(received->data, received->data_size);
}

static void on_message(const uint8_t *message, size_t size) {
    if (count_message(message, size) && is_role("pong")) send_number(tally.newest, true);
}

static bool peer_open(const struct options *o) {
    char url[160];
    bool ipv4 = o->group && !strchr(o->group, ':');
    snprintf(url, sizeof url, "udpm://%s:%d?ttl=%d&recv_buf_size=%d", ipv4 ? o->group : "239.255.76.67",
             o->port ? o->port : 7667, o->hops, o->rcvbuf);
    lcm = lcm_create(url);
    if (!lcm) return fprintf(stderr, "lcm: cannot open %s\n", url), false;
    if (is_role("pub")) return true;
    lcm_subscription_t *subscription = lcm_subscribe(lcm, is_role("ping") ? "pong" : "ping", handle, NULL);
    return subscription && lcm_subscription_set_queue_capacity(subscription, queue_len()) == 0;
}

static bool peer_send(bool echo, const uint8_t *message, size_t size) {
    return lcm_publish(lcm, echo ? "pong" : "ping", message, (unsigned)size) == 0;
}

static bool peer_wait(int timeout_ms) { return lcm_handle_timeout(lcm, timeout_ms) >= 0 || stopped; }

static void peer_close(void) { lcm_destroy(lcm); }

int main(int argc, char **argv) { return peer_main(argc, argv); }
