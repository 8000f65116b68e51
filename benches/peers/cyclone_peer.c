/* Cyclone DDS behind the command line of raw-reference (benches/raw): best
 * effort, keep last, a sequence of octets.
 *
 *     idlc -l c -o BUILD cyclone_peer.idl          # Debian: cyclonedds-dev, cyclonedds-tools
 *     cc -std=c11 -O2 -Wall -Wextra -IBUILD -o BUILD/cyclone_peer cyclone_peer.c BUILD/cyclone_peer.c -lddsc
 *
 * BUILD is another directory: what idlc writes has this file's name.
 *
 * The network comes from the environment; --group, --port, --hops, --interface
 * and --rcvbuf are left aside. The interface needs an IPv4 address (in a private
 * namespace: `ip addr add 10.0.0.1/24 dev br0; ip route add 224.0.0.0/4 dev br0`).
 * Of two settings the better one counts: datagrams as they come,
 *
 *     CYCLONEDDS_URI='<CycloneDDS><Domain><General><Interfaces><NetworkInterface name="br0"
 *         multicast="true" prefer_multicast="true"/></Interfaces><AllowMulticast>true</AllowMulticast></General>
 *         <Internal><SocketReceiveBufferSize min="4MiB"/></Internal></Domain></CycloneDDS>'
 *
 * and huge ones, which IP fragments: to <General> add
 *
 *     <MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize>
 */
#include "peer.h"

#include <dds/dds.h>

#include "cyclone_peer.h"

enum { BATCH = 64 };

static dds_entity_t participant, reader, writer, waitset;

static void on_message(const uint8_t *message, size_t size) {
    if (count_message(message, size) && is_role("pong")) send_number(tally.newest, true);
}

static bool take_all(void) {
    void *samples[BATCH] = {NULL};
    dds_sample_info_t infos[BATCH];
    int taken = dds_take(reader, samples, infos, BATCH, BATCH);
    for (int i = 0; i < taken; i++) {
        const peer_Blob *blob = samples[i];
        if (infos[i].valid_data) on_message(blob->data._buffer, blob->data._length);
    }
    return taken >= 0 && (taken == 0 || dds_return_loan(reader, samples, taken) == DDS_RETCODE_OK);
}

/* Best-effort samples go nowhere until the other side is known. */
static bool await_match(bool ping) {
    for (int i = 0; i < 100 && !stopped; i++, dds_sleepfor(DDS_MSECS(100))) {
        dds_publication_matched_status_t readers = {0};
        dds_subscription_matched_status_t writers = {0};
        dds_get_publication_matched_status(writer, &readers);
        if (ping) dds_get_subscription_matched_status(reader, &writers);
        if (readers.current_count > 0 && (!ping || writers.current_count > 0)) {
            dds_sleepfor(DDS_MSECS(300)); /* the other side has to find out too */
            return true;
        }
    }
    fprintf(stderr, "cyclone: found nobody within 10 s\n");
    return false;
}

static dds_entity_t topic(const char *name) {
    return dds_create_topic(participant, &peer_Blob_desc, name, NULL, NULL);
}

static bool open_endpoints(const char *from, const char *to) {
    dds_qos_t *qos = dds_create_qos();
    dds_qset_reliability(qos, DDS_RELIABILITY_BEST_EFFORT, 0);
    dds_qset_history(qos, DDS_HISTORY_KEEP_LAST, queue_len());
    if (from) {
        reader = dds_create_reader(participant, topic(from), qos, NULL);
        waitset = dds_create_waitset(participant);
        dds_set_status_mask(reader, DDS_DATA_AVAILABLE_STATUS);
        dds_waitset_attach(waitset, reader, 0);
    }
    if (to) writer = dds_create_writer(participant, topic(to), qos, NULL);
    dds_delete_qos(qos);
    return reader >= 0 && writer >= 0 && waitset >= 0;
}

static bool peer_open(const struct options *o) {
    (void)o;
    participant = dds_create_participant(DDS_DOMAIN_DEFAULT, NULL, NULL);
    if (participant < 0) return fprintf(stderr, "cyclone: %s\n", dds_strretcode(-participant)), false;
    bool ping = is_role("ping"), pong = is_role("pong"), pub = is_role("pub");
    const char *from = ping ? "pong" : pub ? NULL : "ping", *to = pong ? "pong" : pub || ping ? "ping" : NULL;
    if (!open_endpoints(from, to)) return fprintf(stderr, "cyclone: no reader or writer\n"), false;
    return !(ping || pub) || await_match(ping);
}

static bool peer_send(bool echo, const uint8_t *message, size_t size) {
    (void)echo; /* each role has but one writer */
    peer_Blob blob = {.data = {._maximum = (uint32_t)size, ._length = (uint32_t)size, ._buffer = (uint8_t *)message}};
    return dds_write(writer, &blob) == DDS_RETCODE_OK;
}

static bool peer_wait(int timeout_ms) {
    if (timeout_ms > 0) {
        dds_attach_t which[1];
        if (dds_waitset_wait(waitset, which, 1, DDS_MSECS(timeout_ms)) < 0) return false;
    }
    return take_all();
}

static void peer_close(void) { dds_delete(participant); }

int main(int argc, char **argv) { return peer_main(argc, argv); }
