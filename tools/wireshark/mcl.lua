-- MCL in Wireshark: publish/subscribe messages in UDP datagrams, wire format version 1.
--
-- Written from the specification, which is the documentation of the crate `mcl-wire`
-- (section "Specification, version 1"), and from nothing else. How to install and use it: README.md
-- beside this file. Needs Wireshark or tshark 4.0 or later.
--
-- In three steps, so that nothing is shown of what was not checked:
--   parse    bytes to tables, without a tree; every length is checked here
--   account  what a receiver that heard this capture would do with it; first pass only
--   show     tables to the tree; reads only ranges that `parse` found to be there

local mcl = Proto("mcl", "Multiprocess Communication Library")
set_plugin_info({
    version = "1.0.0",
    description = "Dissector of the MCL wire format, version 1",
})

-- Lua 5.2 has bit32, Wireshark brings bit, Lua 5.4 has operators.
local bits = bit32 or bit or load([[return {
    band = function(a, b) return a & b end,
    bxor = function(a, b) return a ~ b end,
    rshift = function(a, n) return a >> n end,
}]])()
local band, bxor, rshift = bits.band, bits.bxor, bits.rshift
local TWO_32 = 0x100000000

---------------------------------------------------------------------------------------------------
-- Names of what is on the wire

local HEADER_LEN = 24
local FRAGMENT_FIELDS_LEN = 24
local UNSEQUENCED, SEALED = 0x01, 0x80
local PADDING, MESSAGE, FRAGMENT = 0x00, 0x01, 0x02
local NUMBERED = 0x10
local TOPIC = 0x80
local CRC32C = 0x81
local SEQUENCE_WINDOW, NUMBER_WINDOW = 1024, 4096
local JUMP_BEYOND, CONFIRMED_WITHIN, STALE_RUN = 0x1000000, 64, 64

local frame_types = {
    { 0x00, 0x00, "padding" },
    { 0x01, 0x01, "MESSAGE" },
    { 0x02, 0x02, "FRAGMENT" },
    { 0x03, 0x6F, "unassigned critical" },
    { 0x70, 0x7F, "experimental critical" },
    { 0x80, 0x80, "HEARTBEAT" },
    { 0x81, 0x81, "REPAIR_REQUEST" },
    { 0x82, 0x82, "UNAVAILABLE" },
    { 0x83, 0x83, "PARITY" },
    { 0x84, 0x84, "FLOW_CREDIT" },
    { 0x85, 0xEF, "unassigned ignorable" },
    { 0xF0, 0xFF, "experimental ignorable" },
}

local item_types = {
    { 0x00, 0x00, "invalid" },
    { 0x01, 0x01, "ENCODING" },
    { 0x02, 0x02, "SCHEMA" },
    { 0x03, 0x7F, "unassigned critical" },
    { 0x80, 0x80, "PUBLISH_TIME" },
    { 0x81, 0x81, "CRC32C" },
    { 0x82, 0xFF, "unassigned ignorable" },
}

local item_lengths = { [0x01] = 1, [0x02] = 8, [0x80] = 8, [0x81] = 4 }

local encodings = {
    { 0, 0, "raw bytes" },
    { 1, 1, "bincode 2" },
    { 2, 2, "JSON" },
    { 3, 3, "CBOR" },
    { 4, 4, "MessagePack" },
    { 5, 5, "UTF-8 text" },
    { 6, 6, "Protocol Buffers" },
    { 7, 7, "CDR" },
    { 8, 127, "unassigned" },
    { 128, 255, "private" },
}

local function name_in(ranges, value)
    for _, range in ipairs(ranges) do
        if value >= range[1] and value <= range[2] then
            return range[3]
        end
    end
end

---------------------------------------------------------------------------------------------------
-- Fields

local f = {
    magic = ProtoField.uint16("mcl.magic", "Magic", base.HEX),
    version = ProtoField.uint8("mcl.version", "Version"),
    header_length = ProtoField.uint8("mcl.header_length", "Header length"),
    critical_flags = ProtoField.uint8("mcl.critical_flags", "Critical flags", base.HEX),
    unsequenced = ProtoField.bool("mcl.critical_flags.unsequenced", "UNSEQUENCED", 8, nil, UNSEQUENCED),
    sealed = ProtoField.bool("mcl.critical_flags.sealed", "SEALED (reserved)", 8, nil, SEALED),
    ignorable_flags = ProtoField.uint8("mcl.ignorable_flags", "Ignorable flags", base.HEX),
    reserved = ProtoField.uint16("mcl.reserved", "Reserved", base.HEX),
    stream = ProtoField.uint64("mcl.stream", "Stream id", base.HEX),
    sequence = ProtoField.uint64("mcl.sequence", "Sequence number"),
    extension = ProtoField.bytes("mcl.extension", "Header extensions"),
    disposition = ProtoField.string("mcl.disposition", "Disposition", base.UNICODE,
        "How a receiver judges the datagram if it hears what was captured"),
    missing = ProtoField.double("mcl.missing", "Sequence numbers missing before this one"),
    first_seen = ProtoField.framenum("mcl.first_seen", "First seen in", base.NONE, frametype.NONE),
    problem = ProtoField.string("mcl.problem", "Problem"),

    train_datagrams = ProtoField.uint32("mcl.train.datagrams", "Datagrams in the train"),
    train_segment = ProtoField.uint32("mcl.train.segment_length", "Segment length"),
    train_index = ProtoField.uint32("mcl.train.index", "Place in the train"),

    frame = ProtoField.none("mcl.frame", "Frame"),
    frame_type = ProtoField.uint8("mcl.frame.type", "Type", base.HEX + base.RANGE_STRING, frame_types),
    frame_flags = ProtoField.uint8("mcl.frame.flags", "Frame flags", base.HEX),
    numbered = ProtoField.bool("mcl.frame.flags.numbered", "NUMBERED", 8, nil, NUMBERED),
    frame_length = ProtoField.uint16("mcl.frame.length", "Length"),
    frame_data = ProtoField.bytes("mcl.frame.data", "Data"),
    padding = ProtoField.bytes("mcl.padding", "Padding"),

    number = ProtoField.uint64("mcl.message.number", "Message number"),
    fragment_total = ProtoField.uint32("mcl.fragment.total", "Total length of the body"),
    fragment_index = ProtoField.uint32("mcl.fragment.index", "Fragment index"),
    fragment_count = ProtoField.uint32("mcl.fragment.count", "Fragments of the message"),
    topic_hash = ProtoField.uint32("mcl.fragment.topic_hash", "Topic hash", base.HEX),
    fragment_size = ProtoField.uint16("mcl.fragment.size", "Fragment size"),
    fragment_reserved = ProtoField.uint16("mcl.fragment.reserved", "Reserved", base.HEX),
    fragment_data = ProtoField.bytes("mcl.fragment.data", "Fragment's bytes"),
    reassembled_in = ProtoField.framenum("mcl.reassembled.in", "Reassembled in", base.NONE, frametype.NONE),
    reassembled_from = ProtoField.framenum("mcl.reassembled.from", "Fragment in", base.NONE, frametype.NONE),
    reassembled_length = ProtoField.uint32("mcl.reassembled.length", "Length of the reassembled body"),

    body = ProtoField.none("mcl.body", "Message body"),
    body_flags = ProtoField.uint8("mcl.body.flags", "Body flags", base.HEX),
    body_topic_flag = ProtoField.bool("mcl.body.flags.topic", "TOPIC", 8, nil, TOPIC),
    topic_length = ProtoField.uint8("mcl.topic_length", "Topic length"),
    metadata_length = ProtoField.uint16("mcl.metadata_length", "Metadata length"),
    topic = ProtoField.string("mcl.topic", "Topic", base.UNICODE),
    item = ProtoField.none("mcl.item", "Metadata item"),
    item_type = ProtoField.uint8("mcl.item.type", "Type", base.HEX + base.RANGE_STRING, item_types),
    item_length = ProtoField.uint8("mcl.item.length", "Length"),
    item_value = ProtoField.bytes("mcl.item.value", "Value"),
    encoding = ProtoField.uint8("mcl.encoding", "Encoding", base.DEC + base.RANGE_STRING, encodings),
    schema = ProtoField.uint64("mcl.schema", "Schema", base.HEX),
    publish_time = ProtoField.absolute_time("mcl.publish_time", "Publish time", base.UTC),
    delay = ProtoField.relative_time("mcl.publish_delay", "From publishing to the capture of the message's end",
        "Two clocks' difference included, if publisher and capture have two"),
    crc = ProtoField.uint32("mcl.crc32c", "CRC-32C", base.HEX),
    crc_status = ProtoField.string("mcl.crc32c.status", "CRC-32C status"),
    payload = ProtoField.bytes("mcl.payload", "Payload"),
    payload_length = ProtoField.uint32("mcl.payload.length", "Payload length"),
    text = ProtoField.string("mcl.text", "Text", base.UNICODE),

    heartbeat_oldest = ProtoField.uint64("mcl.heartbeat.oldest", "Oldest sequence number held"),
    heartbeat_highest = ProtoField.uint64("mcl.heartbeat.highest", "Highest sequence number sent"),
    repair_stream = ProtoField.uint64("mcl.repair_request.stream", "Stream id", base.HEX),
    repair_first = ProtoField.uint64("mcl.repair_request.first", "First"),
    repair_count = ProtoField.uint32("mcl.repair_request.count", "Count"),
    unavailable_first = ProtoField.uint64("mcl.unavailable.first", "First"),
    unavailable_count = ProtoField.uint64("mcl.unavailable.count", "Count"),
    parity_message = ProtoField.uint64("mcl.parity.message", "Message number"),
    parity_block = ProtoField.uint32("mcl.parity.block", "Block"),
    parity_k = ProtoField.uint16("mcl.parity.k", "Fragments in the block (k)"),
    parity_m = ProtoField.uint16("mcl.parity.m", "Parity blocks (m)"),
    parity_index = ProtoField.uint16("mcl.parity.index", "Index"),
    parity_reserved = ProtoField.uint16("mcl.parity.reserved", "Reserved", base.HEX),
    parity_data = ProtoField.bytes("mcl.parity.data", "Parity bytes"),
    credit_stream = ProtoField.uint64("mcl.flow_credit.stream", "Stream id", base.HEX),
    credit_highest = ProtoField.uint64("mcl.flow_credit.highest", "Highest contiguous sequence number"),
    credit_free = ProtoField.uint64("mcl.flow_credit.free", "Free bytes"),
}
local declared = {}
for _, field in pairs(f) do
    declared[#declared + 1] = field
end
mcl.fields = declared

-- The layouts of reserved frames are sketches: what does not fit is shown as bytes.
local sketches = {
    [0x80] = { { f.heartbeat_oldest, 8 }, { f.heartbeat_highest, 8 } },
    [0x81] = { { f.repair_stream, 8 }, again = { { f.repair_first, 8 }, { f.repair_count, 4 } } },
    [0x82] = { { f.unavailable_first, 8 }, { f.unavailable_count, 8 } },
    [0x83] = {
        { f.parity_message, 8 }, { f.parity_block, 4 }, { f.parity_k, 2 }, { f.parity_m, 2 },
        { f.parity_index, 2 }, { f.parity_reserved, 2 }, rest = f.parity_data,
    },
    [0x84] = { { f.credit_stream, 8 }, { f.credit_highest, 8 }, { f.credit_free, 8 } },
}

---------------------------------------------------------------------------------------------------
-- Expert information: key = { severity, group, text, disposition of the datagram if it decides one }

local group, severity = expert.group, expert.severity
local MALFORMED, PROTOCOL, SEQUENCE = group.MALFORMED, group.PROTOCOL, group.SEQUENCE
local problems = {
    truncated = { severity.ERROR, MALFORMED, "shorter than a header of 24 bytes", "NotMcl" },
    magic = { severity.ERROR, MALFORMED, "the magic differs", "NotMcl" },
    version = { severity.WARN, PROTOCOL, "the version is not 1", "Version" },
    header_length = { severity.ERROR, MALFORMED,
        "header length below 24 or beyond the datagram's end", "MalformedHeader" },
    critical_flag = { severity.WARN, PROTOCOL, "unknown critical flag in the header", "CriticalFlag" },
    sealed = { severity.WARN, PROTOCOL, "sealed datagram: reserved, not defined in version 1", "CriticalFlag" },

    frame_cut_off = { severity.ERROR, MALFORMED, "the frame is cut off", "MalformedFrame" },
    critical_frame_type = { severity.WARN, PROTOCOL, "frame of unknown critical type", "CriticalFrame" },
    critical_frame_flag = { severity.WARN, PROTOCOL, "unknown critical flag on a known frame", "CriticalFrame" },
    not_sequenced = { severity.ERROR, MALFORMED,
        "MESSAGE or FRAGMENT in an UNSEQUENCED datagram", "MalformedFrame" },
    unnumbered = { severity.ERROR, MALFORMED,
        "the datagram's first MESSAGE is not NUMBERED", "MalformedFrame" },
    number_overflow = { severity.ERROR, MALFORMED, "message number beyond 2^64 - 1", "MalformedFrame" },
    number_cut_off = { severity.ERROR, MALFORMED,
        "the frame is too short for its message number", "MalformedFrame" },
    fragment_cut_off = { severity.ERROR, MALFORMED,
        "the frame is too short for a fragment's fields", "MalformedFrame" },
    fragment_total = { severity.ERROR, MALFORMED, "the body's total length is 0", "MalformedFrame" },
    fragment_size = { severity.ERROR, MALFORMED, "fragment size below 256", "MalformedFrame" },
    fragment_index = { severity.ERROR, MALFORMED,
        "fragment index at or above the number of fragments", "MalformedFrame" },
    fragment_length = { severity.ERROR, MALFORMED,
        "not as many bytes as a fragment of this index has", "MalformedFrame" },

    duplicate = { severity.NOTE, SEQUENCE, "sequence number seen before", "Duplicate" },
    stale = { severity.NOTE, SEQUENCE, "sequence number 1024 or more below the highest", "Stale" },
    jump = { severity.WARN, SEQUENCE, "sequence number more than 2^24 from the highest", "Jump" },
    restart = { severity.NOTE, SEQUENCE, "the sequence starts anew" },
    leap = { severity.NOTE, SEQUENCE,
        "sequence number more than 1024 above the highest: used, but followed only if the next one confirms it" },
    missing = { severity.NOTE, SEQUENCE, "sequence numbers are missing before this one" },

    message_seen = { severity.NOTE, SEQUENCE, "message number seen before: frame dropped" },
    message_stale = { severity.NOTE, SEQUENCE, "message number 4096 or more below the highest: frame dropped" },
    message_jump = { severity.WARN, SEQUENCE, "message number more than 2^24 from the highest: frame dropped" },
    fragment_late = { severity.NOTE, SEQUENCE, "fragment of a message that is over: dropped" },
    fragment_again = { severity.NOTE, SEQUENCE, "fragment already there: dropped" },
    fragment_differs = { severity.WARN, PROTOCOL,
        "total length, size or topic hash unlike the first fragment's: dropped" },
    incomplete = { severity.NOTE, group.REASSEMBLE, "the capture lacks fragments of this message" },

    body_cut_off = { severity.ERROR, MALFORMED, "the body is cut off" },
    critical_body_flag = { severity.WARN, PROTOCOL, "unknown critical body flag" },
    topic_without_flag = { severity.ERROR, MALFORMED, "a topic length without TOPIC" },
    topic_not_utf8 = { severity.ERROR, MALFORMED, "the topic is not UTF-8" },
    item_cut_off = { severity.ERROR, MALFORMED, "the metadata item is cut off" },
    item_invalid = { severity.ERROR, MALFORMED, "metadata item of type 0" },
    item_critical = { severity.WARN, PROTOCOL, "metadata item of unknown critical type" },
    item_length = { severity.ERROR, MALFORMED, "wrong value length of a known metadata item" },
    item_twice = { severity.ERROR, MALFORMED, "a known metadata item for the second time" },
    item_after_crc = { severity.ERROR, MALFORMED, "a metadata item after CRC32C" },
    topic_unlike_hash = { severity.ERROR, MALFORMED, "the topic has another hash than its fragments say" },
    crc_differs = { severity.ERROR, group.CHECKSUM, "the CRC-32C is not that of body and payload" },

    cut_by_capture = { severity.NOTE, group.UNDECODED, "the rest was not captured" },
}
local experts = {}
for key, it in pairs(problems) do
    experts[key] = ProtoExpert.new("mcl.expert." .. key, "MCL: " .. it[3], it[2], it[1])
end
mcl.experts = experts

---------------------------------------------------------------------------------------------------
-- Preferences

mcl.prefs.ports = Pref.range("UDP ports", "26000",
    "Ports whose datagrams are MCL if they begin with its magic. On others a heuristic finds them.", 65535)
mcl.prefs.reassemble = Pref.bool("Reassemble messages", true,
    "Put fragments together and dissect the message where its last one came")
mcl.prefs.trains = Pref.bool("Take trains apart", true,
    "Look for several datagrams in one packet, as captures hold them where segmentation offload is at work")
mcl.prefs.crc_mib = Pref.uint("Verify CRC-32C up to (MiB)", 16,
    "Longer messages are not verified; 0 verifies none. Lua takes some 0.2 s a MiB.")
mcl.prefs.payloads = Pref.bool("Dissect payloads", true,
    "Hand JSON, CBOR and MessagePack to their dissectors")

---------------------------------------------------------------------------------------------------
-- Bytes and numbers. Lua's numbers hold 53 bits: 64-bit ones are a high and a low half, and their 8
-- bytes are what tables are keyed by.

local function u16(s, at)
    local a, b = s:byte(at + 1, at + 2)
    return a * 0x100 + b
end

local function u32(s, at)
    local a, b, c, d = s:byte(at + 1, at + 4)
    return ((a * 0x100 + b) * 0x100 + c) * 0x100 + d
end

local function u64(s, at)
    return { hi = u32(s, at), lo = u32(s, at + 4) }
end

local function key_of(number)
    return string.format("%08x%08x", number.hi, number.lo)
end

local function shown(number)
    return tostring(UInt64.new(number.lo, number.hi))
end

-- The number after this one; nothing after the last.
local function successor(number)
    if number.lo < TWO_32 - 1 then
        return { hi = number.hi, lo = number.lo + 1 }
    elseif number.hi < TWO_32 - 1 then
        return { hi = number.hi + 1, lo = 0 }
    end
end

-- a - b, exact where it matters: near 0.
local function difference(a, b)
    return (a.hi - b.hi) * TWO_32 + (a.lo - b.lo)
end

-- FNV-1a, 32 bit. The prime is 2^24 + 0x193; the product is taken apart to stay exact.
local function topic_hash(topic)
    if topic == nil then
        return 0
    end
    local hash = 0x811c9dc5
    for at = 1, #topic do
        hash = bxor(hash, topic:byte(at)) % TWO_32
        hash = ((hash % 0x100) * 0x1000000 + hash * 0x193) % TWO_32
    end
    return hash == 0 and 1 or hash
end

local crc_table = {}
for byte = 0, 255 do
    local crc = byte
    for _ = 1, 8 do
        local odd = crc % 2 == 1
        crc = rshift(crc, 1)
        if odd then
            crc = bxor(crc, 0x82F63B78)
        end
    end
    crc_table[byte] = crc
end

-- CRC-32C (RFC 3720, appendix B.4) of some bytes after others; begin with 0xFFFFFFFF.
local function crc_update(crc, s, from, to)
    for at = from, to do
        crc = bxor(rshift(crc, 8), crc_table[band(bxor(crc, s:byte(at)), 0xFF)])
    end
    return crc
end

local function crc32c(s, covered, payload_at)
    local crc = crc_update(0xFFFFFFFF, s, 1, covered)
    return bxor(crc_update(crc, s, payload_at + 1, #s), 0xFFFFFFFF) % TWO_32
end

-- How long the well-formed character (RFC 3629) that begins here is.
local function utf8_length(s, at)
    local a, b, c, d = s:byte(at, at + 3)
    local function tail(byte, low, high)
        return byte ~= nil and byte >= (low or 0x80) and byte <= (high or 0xBF)
    end
    if a < 0x80 then
        return 1
    elseif a >= 0xC2 and a <= 0xDF then
        return tail(b) and 2
    elseif a >= 0xE0 and a <= 0xEF then
        local low, high = a == 0xE0 and 0xA0 or 0x80, a == 0xED and 0x9F or 0xBF
        return tail(b, low, high) and tail(c) and 3
    elseif a >= 0xF0 and a <= 0xF4 then
        local low, high = a == 0xF0 and 0x90 or 0x80, a == 0xF4 and 0x8F or 0xBF
        return tail(b, low, high) and tail(c) and tail(d) and 4
    end
end

local function is_utf8(s)
    local at = 1
    while at <= #s do
        local len = utf8_length(s, at)
        if not len then
            return false
        end
        at = at + len
    end
    return true
end

---------------------------------------------------------------------------------------------------
-- Parse. Offsets count from 0 in the datagram (or body); `whole` is how long it was on the wire, which
-- a capture may have cut to #s.

-- Notes what is wrong and where; the first problem that decides a disposition decides it.
local function wrong(of, key, at, len, text)
    of.problems[#of.problems + 1] = { key = key, at = at, len = len, text = text }
    of.worst = of.worst or problems[key][4]
end

local function parse_header(d, s, whole)
    d.header_length = s:byte(4)
    if s:byte(3) ~= 1 then
        return wrong(d, "version", 2, 1, "version " .. s:byte(3))
    elseif d.header_length < HEADER_LEN or d.header_length > whole then
        return wrong(d, "header_length", 3, 1)
    end
    local flags = s:byte(5)
    d.unsequenced = band(flags, UNSEQUENCED) ~= 0
    d.stream, d.sequence = s:sub(9, 16), u64(s, 16)
    if band(flags, SEALED) ~= 0 then
        wrong(d, "sealed", 4, 1)
    elseif band(flags, 0xFE) ~= 0 then
        wrong(d, "critical_flag", 4, 1)
    end
    return d.worst == nil
end

local function parse_message(d, frame, s)
    local at = frame.at + 4
    if band(frame.flags, NUMBERED) ~= 0 then
        if frame.length < 8 then
            return wrong(frame, "number_cut_off", at, frame.length)
        end
        frame.number = u64(s, at)
        frame.numbered = true
        at = at + 8
    elseif d.number == nil then
        wrong(frame, "unnumbered", frame.at + 1, 1)
    else
        frame.number = successor(d.number)
        if frame.number == nil then
            wrong(frame, "number_overflow", frame.at, 4)
        end
    end
    d.number = frame.number or d.number
    frame.body_at, frame.body_len = at, frame.at + 4 + frame.length - at
end

-- What the fragment's bytes must measure, if the other fields make sense.
local function fragment_length(frame)
    if frame.index < frame.count - 1 then
        return frame.size
    end
    return frame.total - (frame.count - 1) * frame.size
end

local function parse_fragment(_, frame, s)
    local at = frame.at + 4
    if frame.length < FRAGMENT_FIELDS_LEN then
        return wrong(frame, "fragment_cut_off", at, frame.length)
    end
    frame.number = u64(s, at)
    frame.total, frame.index, frame.hash = u32(s, at + 8), u32(s, at + 12), u32(s, at + 16)
    frame.size = u16(s, at + 20)
    frame.data_at, frame.data_len = at + FRAGMENT_FIELDS_LEN, frame.length - FRAGMENT_FIELDS_LEN
    if frame.total == 0 then
        return wrong(frame, "fragment_total", at + 8, 4)
    elseif frame.size < 256 then
        return wrong(frame, "fragment_size", at + 20, 2)
    end
    frame.count = math.floor((frame.total + frame.size - 1) / frame.size)
    if frame.index >= frame.count then
        wrong(frame, "fragment_index", at + 12, 4,
            string.format("index %d of %d fragments", frame.index, frame.count))
    elseif frame.data_len ~= fragment_length(frame) then
        wrong(frame, "fragment_length", frame.at + 2, 2,
            string.format("%d bytes instead of %d", frame.data_len, fragment_length(frame)))
    end
end

local data_frames = {
    [MESSAGE] = { known_flags = NUMBERED, parse = parse_message },
    [FRAGMENT] = { known_flags = 0, parse = parse_fragment },
}

-- One frame whose 4 + length bytes are there.
local function parse_whole_frame(d, frame, s)
    local kind = data_frames[frame.type]
    if kind == nil then
        if frame.type < 0x80 then
            wrong(frame, "critical_frame_type", frame.at, 1)
        end
        return
    end
    if band(frame.flags, 0xF0 - kind.known_flags) ~= 0 then
        wrong(frame, "critical_frame_flag", frame.at + 1, 1)
    elseif d.unsequenced then
        wrong(frame, "not_sequenced", frame.at, 1)
    end
    kind.parse(d, frame, s)
end

-- The frame at an offset; says where the next one begins, if that can be known.
local function parse_frame(d, s, whole, at)
    local frame = { at = at, type = s:byte(at + 1), problems = {} }
    d.frames[#d.frames + 1] = frame
    if frame.type == PADDING then
        frame.len = #s - at
        return
    end
    frame.len = math.min(4, #s - at)
    if at + 4 > #s then
        local key = at + 4 > whole and "frame_cut_off" or "cut_by_capture"
        return wrong(frame, key, at, frame.len)
    end
    frame.flags, frame.length = s:byte(at + 2), u16(s, at + 2)
    frame.head = true
    local after = at + 4 + frame.length
    frame.len = math.min(after, #s) - at
    if after > whole then
        return wrong(frame, "frame_cut_off", at + 2, 2,
            string.format("length %d, but %d bytes are left", frame.length, whole - at - 4))
    elseif after > #s then
        return wrong(frame, "cut_by_capture", at, frame.len)
    end
    frame.whole = true
    parse_whole_frame(d, frame, s)
    return after
end

local function parse_frames(d, s, whole)
    local at = d.header_length
    while at and at < #s do
        at = parse_frame(d, s, whole, at)
    end
    for _, frame in ipairs(d.frames) do
        d.worst = d.worst or frame.worst
        -- What is wrong may lie in what is not there.
        d.cut = d.cut or frame.problems[1] and frame.problems[1].key == "cut_by_capture"
    end
    d.cut = d.cut or #s < whole
end

local function parse_datagram(s, whole)
    local d = { frames = {}, problems = {}, whole = whole }
    if s:sub(1, 2) ~= "\xC1\x4D" then
        wrong(d, "magic", 0, math.min(2, #s))
    elseif #s < HEADER_LEN then
        wrong(d, whole < HEADER_LEN and "truncated" or "cut_by_capture", 0, #s)
        d.cut = whole >= HEADER_LEN
    elseif parse_header(d, s, whole) then
        parse_frames(d, s, whole)
    end
    return d
end

-- The next metadata item; says where the one after it begins.
local function parse_item(body, s, at, stop)
    if at + 2 > stop then
        return wrong(body, "item_cut_off", at, stop - at)
    end
    local item = { at = at, type = s:byte(at + 1), length = s:byte(at + 2), problems = {} }
    body.items[#body.items + 1] = item
    item.fits = at + 2 + item.length <= stop
    if body.crc_at then
        wrong(item, "item_after_crc", at, 1)
    end
    if item.type == 0 then
        wrong(item, "item_invalid", at, 1)
    end
    if not item.fits then
        return wrong(item, "item_cut_off", at, stop - at)
    end
    local expected = item_lengths[item.type]
    if expected == nil and item.type > 0 and item.type < 0x80 then
        wrong(item, "item_critical", at, 1)
    elseif expected and item.length ~= expected then
        wrong(item, "item_length", at + 1, 1, string.format("%d instead of %d", item.length, expected))
    elseif expected and body.known[item.type] then
        wrong(item, "item_twice", at, 1)
    elseif expected then
        body.known[item.type] = true
        item.readable = true
    end
    if item.type == CRC32C then
        body.crc_at = body.crc_at or at
    end
    return at + 2 + item.length
end

local function parse_items(body, s, stop)
    local at = body.metadata_at
    while at and at < stop do
        at = parse_item(body, s, at, stop)
    end
end

local function parse_body(s)
    local body = { items = {}, known = {}, problems = {}, encoding = 0 }
    if #s < 4 then
        wrong(body, "body_cut_off", 0, #s)
        return body
    end
    body.head = true
    local flags, topic_len, metadata_len = s:byte(1), s:byte(2), u16(s, 2)
    if band(flags, 0x70) ~= 0 then
        wrong(body, "critical_body_flag", 0, 1)
    end
    body.has_topic = band(flags, TOPIC) ~= 0
    if topic_len > 0 and not body.has_topic then
        wrong(body, "topic_without_flag", 1, 1)
    end
    if 4 + topic_len + metadata_len > #s then
        wrong(body, "body_cut_off", 0, #s)
        return body
    end
    body.topic_len, body.metadata_at = topic_len, 4 + topic_len
    body.payload_at = body.metadata_at + metadata_len
    body.topic = body.has_topic and s:sub(5, body.metadata_at) or nil
    if body.topic and not is_utf8(body.topic) then
        wrong(body, "topic_not_utf8", 4, topic_len)
    end
    parse_items(body, s, body.payload_at)
    return body
end

---------------------------------------------------------------------------------------------------
-- Trains. Where segmentation or receive offload is at work, a capture shows a train as one packet: its
-- datagrams back to back, all as long as the first but the last, which may be shorter. Nothing but the
-- next header says so.

-- Whether a datagram of the same stream begins here.
local function follows(s, at, stream)
    return at + HEADER_LEN <= #s and s:sub(at + 1, at + 3) == "\xC1\x4D\1"
        and s:byte(at + 4) >= HEADER_LEN and s:sub(at + 9, at + 16) == stream
end

local function header_in_padding(s, at, stream)
    while true do
        local found = s:find("\xC1\x4D\1", at + 1, true)
        if found == nil or follows(s, found - 1, stream) then
            return found and found - 1
        end
        at = found
    end
end

-- Where the first datagram ends: where frames and padding do and another header begins.
local function segment_length(s)
    if not (#s > 2 * HEADER_LEN and s:sub(1, 3) == "\xC1\x4D\1" and s:byte(4) >= HEADER_LEN) then
        return #s
    end
    local stream, at = s:sub(9, 16), s:byte(4)
    while at + 4 <= #s do
        if follows(s, at, stream) then
            return at
        elseif s:byte(at + 1) == PADDING then
            return header_in_padding(s, at, stream) or #s
        end
        at = at + 4 + u16(s, at + 2)
    end
    return #s
end

-- The datagrams of a packet as { offset, length }.
local function segments(s, whole)
    local len = mcl.prefs.trains and segment_length(s) or #s
    if len >= #s then
        return { { 0, whole } }
    end
    local list = {}
    for at = 0, #s - 1, len do
        list[#list + 1] = { at, math.min(len, whole - at) }
    end
    return list
end

---------------------------------------------------------------------------------------------------
-- Account: what came before. Filled while packets are seen for the first time, in order; looked up
-- whenever one is shown again.

local streams, accounts

local function forget()
    streams, accounts = {}, {}
end
forget()
mcl.init = forget

-- Numbers of a sequence: which of the last ones were seen, and in which packet.
local function new_tracker(window)
    return { window = window, seen = {} }
end

local function restart(tracker, number, why)
    tracker.highest, tracker.seen, tracker.far = number, {}, nil
    return "restart", why
end

-- Keeps a number that the sequence does not follow yet, for the next one may confirm it; and those
-- before it which the same datagram said, if they are contiguous. `stale` as in `observe_stale`.
local function suspect(tracker, number, source, packet, stale)
    local far = tracker.far
    if not (far and far.source == source and difference(number, far.last) == 1) then
        far = { source = source, packets = {}, count = 0 }
    end
    far.last, far.count, far.stale = number, far.count + 1, stale
    far.packets[key_of(number)] = packet
    tracker.far = far
end

-- How far above the one that waits, if close enough to confirm it.
local function step_from(far, number)
    local step = far and difference(number, far.last) or 0
    return step >= 1 and step <= CONFIRMED_WITHIN and step or nil
end

-- Too far for a gap: not to be used, and where the sequence starts anew if the next one confirms it.
local function observe_jump(tracker, number, source, packet)
    local far = tracker.far
    if step_from(far, number) and far.source ~= source then
        return restart(tracker, number, "a jump was confirmed")
    end
    suspect(tracker, number, source, packet)
    return "jump"
end

-- The sequence goes where this number and those that waited are; returns how many are missing.
local function follow(tracker, number, far)
    local before = tracker.highest
    tracker.highest = difference(number, far.last) > 0 and number or far.last
    tracker.far = nil
    for key, packet in pairs(far.packets) do
        tracker.seen[key] = packet
    end
    return difference(tracker.highest, before) - far.count - 1
end

-- Further ahead than the window is long: to be used, but followed only if the next one confirms it.
local function observe_leap(tracker, number, source, packet)
    local far = tracker.far
    local near = far and difference(far.last, tracker.highest) > tracker.window
        and math.abs(difference(number, far.last)) < tracker.window
    local seen = near and far.packets[key_of(number)]
    if seen then
        return "duplicate", seen
    elseif near and far.source ~= source then
        return "missing", follow(tracker, number, far)
    end
    suspect(tracker, number, source, packet)
    return "leap"
end

-- Older than the window, unless so many in a row are that the sequence must be there. `stale` counts
-- how often another datagram's was closely above the one before; the same one again does not matter.
local function observe_stale(tracker, number, source, packet)
    local far, stale = tracker.far, 0
    if step_from(far, number) then
        stale = (far.stale or 0) + (far.source ~= source and 1 or 0)
    elseif far and difference(number, far.last) == 0 then
        stale = far.stale or 0
    end
    if stale >= STALE_RUN then
        return restart(tracker, number, "many in a row were older than the window")
    end
    suspect(tracker, number, source, packet, stale)
    return "stale"
end

-- Takes note of a number that `source` says, a datagram: what it is to the sequence, unless it is
-- simply new, and what belongs to that.
local function judge(tracker, number, source, packet)
    tracker.highest = tracker.highest or number
    local ahead = difference(number, tracker.highest)
    if math.abs(ahead) > JUMP_BEYOND then
        return observe_jump(tracker, number, source, packet)
    elseif ahead > tracker.window then
        return observe_leap(tracker, number, source, packet)
    elseif ahead <= -tracker.window then
        return observe_stale(tracker, number, source, packet)
    end
    tracker.far = nil
    if tracker.seen[key_of(number)] then
        return "duplicate", tracker.seen[key_of(number)]
    elseif ahead > 0 then
        tracker.highest = number
    end
    return ahead > 1 and "missing" or nil, ahead - 1
end

local refusals = { duplicate = true, stale = true, jump = true }

-- The same, and remembers where a number was seen first. One that leapt is remembered where it waits.
local function observe(tracker, number, source, packet)
    local outcome, detail = judge(tracker, number, source, packet)
    if not refusals[outcome] and outcome ~= "leap" then
        tracker.seen[key_of(number)] = packet
    end
    return outcome, detail
end

local function new_stream()
    return { sequence = new_tracker(SEQUENCE_WINDOW), numbers = new_tracker(NUMBER_WINDOW), messages = {} }
end

-- Takes note of a datagram's sequence number: nothing, or what is to be said of it.
local function judge_sequence(stream, sequence, packet)
    local outcome, detail = observe(stream.sequence, sequence, key_of(sequence), packet)
    if outcome == "duplicate" then
        return { key = outcome, packet = detail }
    elseif outcome == "missing" then
        return { key = outcome, missing = detail }
    elseif outcome == "restart" then
        stream.numbers, stream.messages = new_tracker(NUMBER_WINDOW), {}
        return { key = outcome, text = detail }
    end
    return outcome and { key = outcome }
end

local number_problems = { duplicate = "message_seen", stale = "message_stale", jump = "message_jump" }

-- Takes note of a message's number: why it is dropped, if it is. What one datagram says does not
-- confirm what else it says.
local function judge_number(stream, number, source, packet)
    local outcome, detail = observe(stream.numbers, number, source, packet)
    if refusals[outcome] then
        return { key = number_problems[outcome], packet = outcome == "duplicate" and detail or nil }
    end
end

local function begin_message(frame)
    return { total = frame.total, size = frame.size, hash = frame.hash, count = frame.count,
        parts = {}, packets = {}, have = 0 }
end

-- The message under reassembly to which a fragment belongs, or why there is none.
local function message_of(stream, frame, source, packet)
    local key = key_of(frame.number)
    if stream.messages[key] == nil then
        local refused = judge_number(stream, frame.number, source, packet)
        if refused then
            refused.key = refused.packet and "fragment_late" or refused.key
            return nil, refused
        end
        stream.messages[key] = begin_message(frame)
    end
    return stream.messages[key]
end

local function complete(stream, message, number, packet)
    message.body = table.concat(message.parts, "", 0, message.count - 1)
    message.parts, message.packet = nil, packet
    local key = key_of(number)
    local seen, far = stream.numbers.seen, stream.numbers.far
    -- Unless the numbers started anew or went elsewhere meanwhile: then this one is forgotten.
    seen[key] = seen[key] and packet
    if far and far.packets[key] then
        far.packets[key] = packet
    end
    stream.messages[key] = nil
    return { message = message, completes = true }
end

-- Takes a fragment into its message.
local function take_fragment(stream, frame, bytes, source, packet)
    local message, refused = message_of(stream, frame, source, packet)
    if message == nil then
        return refused
    elseif message.total ~= frame.total or message.size ~= frame.size or message.hash ~= frame.hash then
        return { key = "fragment_differs", packet = message.packets[message.first] }
    elseif message.packets[frame.index] then
        return { key = "fragment_again", packet = message.packets[frame.index] }
    end
    message.first = message.first or frame.index
    message.parts[frame.index], message.packets[frame.index] = bytes, packet
    message.have = message.have + 1
    if message.have == message.count then
        return complete(stream, message, frame.number, packet)
    end
    return { message = message }
end

local function take_frames(account, stream, d, s, packet)
    local source = key_of(d.sequence)
    for index, frame in ipairs(d.frames) do
        if frame.type == MESSAGE then
            account[index] = judge_number(stream, frame.number, source, packet)
        elseif frame.type == FRAGMENT and mcl.prefs.reassemble then
            local bytes = s:sub(frame.data_at + 1, frame.data_at + frame.data_len)
            account[index] = take_fragment(stream, frame, bytes, source, packet)
        end
    end
end

-- A stream is one sender's to one group and port.
local function stream_of(d, pinfo)
    local name = tostring(pinfo.dst) .. "/" .. pinfo.dst_port .. "/" .. d.stream
    streams[name] = streams[name] or new_stream()
    return streams[name]
end

local function account_for(d, s, pinfo)
    local account = {}
    if d.worst or d.cut or d.unsequenced then
        return account
    end
    local stream = stream_of(d, pinfo)
    account.sequence = judge_sequence(stream, d.sequence, pinfo.number)
    local verdict = account.sequence and problems[account.sequence.key][4]
    if verdict == nil then
        take_frames(account, stream, d, s, pinfo.number)
    end
    return account
end

-- The account of the datagram at this place of this packet.
local function account_of(d, s, pinfo, place)
    local key = pinfo.number .. "/" .. place
    if not pinfo.visited then
        accounts[key] = account_for(d, s, pinfo)
    end
    return accounts[key] or {}
end

---------------------------------------------------------------------------------------------------
-- Show

local function show_problem(tree, range, problem)
    local text = problems[problem.key][3]
    if problem.text then
        text = text .. ": " .. problem.text
    end
    local item = tree:add(f.problem, range, problem.key):set_generated()
    item:add_proto_expert_info(experts[problem.key], text)
    if problem.packet then
        item:add(f.first_seen, problem.packet):set_generated()
    end
end

-- Problems have offsets in the tvb whose part `from` begins what they belong to.
local function show_problems(tree, tvb, from, list)
    for _, problem in ipairs(list) do
        show_problem(tree, tvb(from + problem.at, problem.len), problem)
    end
end

-- For titles and columns, which take one short line.
local function quoted(topic)
    local most = 40
    if #topic > most then
        local at = most
        -- Not within a character.
        while at > most - 4 and band(topic:byte(at + 1), 0xC0) == 0x80 do
            at = at - 1
        end
        topic = topic:sub(1, at) .. "…"
    end
    return '"' .. topic:gsub("%c", ".") .. '"'
end

local function show_time(tree, range, pinfo)
    local ns = range:uint64()
    local seconds = (ns / UInt64.new(1000000000)):tonumber()
    local rest = (ns % UInt64.new(1000000000)):tonumber()
    tree:add(f.publish_time, range, NSTime.new(seconds, rest))
    local captured = math.floor(pinfo.abs_ts)
    local delay = captured - seconds + (pinfo.abs_ts - captured - rest / 1e9)
    local whole = delay < 0 and math.ceil(delay) or math.floor(delay)
    local parts = NSTime.new(whole, math.floor((delay - whole) * 1e9))
    tree:add(f.delay, range, parts):set_generated()
end

local function show_crc(tree, range, body, s)
    local item = tree:add(f.crc, range)
    if body.broken then
        return
    elseif #s > mcl.prefs.crc_mib * 0x100000 then
        item:add(f.crc_status, range, "not verified"):set_generated()
        return
    end
    local computed = crc32c(s, body.crc_at, body.payload_at)
    local good = computed == range:uint()
    item:add(f.crc_status, range, good and "good" or "bad"):set_generated()
    if not good then
        show_problem(item, range, { key = "crc_differs", text = string.format("computed 0x%08x", computed) })
    end
end

local item_values = {
    [0x01] = function(tree, range, _, body)
        body.encoding = range:uint()
        tree:add(f.encoding, range)
    end,
    [0x02] = function(tree, range)
        tree:add(f.schema, range)
    end,
    [0x80] = function(tree, range, pinfo)
        show_time(tree, range, pinfo)
    end,
    [0x81] = function(tree, range, _, body, s)
        show_crc(tree, range, body, s)
    end,
}

local function show_item(tree, tvb, from, item, pinfo, body, s)
    local at = from + item.at
    local len = item.fits and 2 + item.length or 2
    local sub = tree:add(f.item, tvb(at, len))
    sub:set_text("Metadata item: " .. name_in(item_types, item.type))
    sub:add(f.item_type, tvb(at, 1))
    sub:add(f.item_length, tvb(at + 1, 1))
    if item.readable then
        item_values[item.type](sub, tvb(at + 2, item.length), pinfo, body, s)
    elseif item.fits and item.length > 0 then
        sub:add(f.item_value, tvb(at + 2, item.length))
    end
    show_problems(sub, tvb, from, item.problems)
end

local payload_dissectors = { [2] = "json", [3] = "cbor", [4] = "msgpack" }

-- What others make of the payload is theirs, their errors included.
local function show_decoded(tree, range, pinfo, body, s)
    if body.encoding == 5 then
        local text = s:sub(body.payload_at + 1)
        if is_utf8(text) then
            tree:add(f.text, range)
        end
    elseif mcl.prefs.payloads and payload_dissectors[body.encoding] then
        local found, dissector = pcall(Dissector.get, payload_dissectors[body.encoding])
        if found and dissector then
            pcall(dissector.call, dissector, range:tvb(), pinfo, tree)
        end
    end
end

local function show_payload(tree, tvb, from, pinfo, body, s)
    local len = #s - body.payload_at
    local item
    if len > 0 then
        local range = tvb(from + body.payload_at, len)
        item = tree:add(f.payload, range)
        item:add(f.payload_length, range, len):set_generated()
        show_decoded(item, range, pinfo, body, s)
    else
        tree:add(f.payload_length, tvb(from, #s), 0):set_generated()
    end
end

-- The body that begins at `from`; says in words what it is.
local function show_body(tree, tvb, from, s, pinfo, hash)
    local body = parse_body(s)
    local range = #s > 0 and tvb(from, #s) or tvb(0, 0)
    local sub = tree:add(f.body, range)
    for _, item in ipairs(body.items) do
        body.broken = body.broken or #item.problems > 0
    end
    body.broken = body.broken or #body.problems > 0
    if hash and body.payload_at and topic_hash(body.topic) ~= hash then
        body.problems[#body.problems + 1] = { key = "topic_unlike_hash", at = 0, len = #s }
    end
    if body.head then
        sub:add(f.body_flags, tvb(from, 1)):add(f.body_topic_flag, tvb(from, 1))
        sub:add(f.topic_length, tvb(from + 1, 1))
        sub:add(f.metadata_length, tvb(from + 2, 2))
    end
    if body.topic then
        -- An empty field is no match for a filter that asks whether there is one.
        local at = body.topic_len > 0 and tvb(from + 4, body.topic_len) or tvb(from + 1, 1)
        local valid = is_utf8(body.topic)
        local item = valid and sub:add(f.topic, at, body.topic) or sub:add(f.topic, at)
        item:set_text("Topic: \"" .. body.topic:gsub("%c", ".") .. "\"")
    end
    for _, item in ipairs(body.items) do
        show_item(sub, tvb, from, item, pinfo, body, s)
    end
    show_problems(sub, tvb, from, body.problems)
    if body.payload_at == nil then
        return "(body cut off)"
    end
    show_payload(sub, tvb, from, pinfo, body, s)
    local broken = body.broken or #body.problems > 0
    local words = (body.topic and quoted(body.topic) .. " " or "") .. (#s - body.payload_at) .. " B"
    return broken and words .. " (undeliverable)" or words
end

local function show_number(tree, tvb, from, frame)
    if frame.numbered or frame.type == FRAGMENT then
        tree:add(f.number, tvb(from + frame.at + 4, 8))
    elseif frame.number then
        local number = UInt64.new(frame.number.lo, frame.number.hi)
        tree:add(f.number, tvb(from + frame.at, 1), number):set_generated()
    end
end

local function show_message(tree, tvb, from, frame, s, pinfo)
    show_number(tree, tvb, from, frame)
    local number = frame.number and " #" .. shown(frame.number) or ""
    if frame.body_at == nil then
        return "MESSAGE"
    end
    local body = s:sub(frame.body_at + 1, frame.body_at + frame.body_len)
    return "MESSAGE" .. number .. " " .. show_body(tree, tvb, from + frame.body_at, body, pinfo)
end

local function show_fragment_fields(tree, tvb, at, frame)
    tree:add(f.fragment_total, tvb(at + 12, 4))
    tree:add(f.fragment_index, tvb(at + 16, 4))
    tree:add(f.topic_hash, tvb(at + 20, 4))
    tree:add(f.fragment_size, tvb(at + 24, 2))
    tree:add(f.fragment_reserved, tvb(at + 26, 2))
    if frame.count then
        tree:add(f.fragment_count, tvb(at + 12, 4), frame.count):set_generated()
    end
    if frame.data_len > 0 then
        tree:add(f.fragment_data, tvb(at + 28, frame.data_len))
    end
end

local function show_sources(tree, message)
    local from = tree:add(f.reassembled_length, message.total):set_generated()
    local last
    for index = 0, message.count - 1 do
        local packet = message.packets[index]
        -- A packet that is a train holds many.
        if packet ~= last then
            from:add(f.reassembled_from, packet):set_generated()
        end
        last = packet
    end
end

-- What became of the fragment; in the last one the message itself.
local function show_fate(tree, range, pinfo, fate, words)
    local message = fate and fate.message
    if message == nil then
        return words
    elseif fate.completes then
        show_sources(tree, message)
        local tvb = ByteArray.new(message.body, true):tvb("Reassembled MCL message")
        local what = show_body(tree, tvb, 0, message.body, pinfo, message.hash)
        return words .. " [reassembled: " .. what .. "]"
    elseif message.packet then
        tree:add(f.reassembled_in, message.packet):set_generated()
        return words .. " [reassembled in " .. message.packet .. "]"
    elseif pinfo.visited then
        local have = string.format("%d of %d", message.have, message.count)
        show_problem(tree, range, { key = "incomplete", text = have })
    end
    return words
end

local function show_fragment(tree, tvb, from, frame, pinfo, fate)
    if frame.number == nil then
        return "FRAGMENT"
    end
    show_number(tree, tvb, from, frame)
    show_fragment_fields(tree, tvb, from + frame.at, frame)
    local place = frame.count and string.format(" %d/%d", frame.index + 1, frame.count) or ""
    local words = "FRAGMENT #" .. shown(frame.number) .. place
    return show_fate(tree, tvb(from + frame.at, frame.len), pinfo, fate, words)
end

-- One run of fields, if it fits; says where it ends.
local function show_fields(tree, tvb, at, stop, fields)
    local len = 0
    for _, it in ipairs(fields) do
        len = len + it[2]
    end
    if at + len > stop then
        return at
    end
    for _, it in ipairs(fields) do
        tree:add(it[1], tvb(at, it[2]))
        at = at + it[2]
    end
    return at
end

local function show_skipped(tree, tvb, from, frame)
    local at, stop = from + frame.at + 4, from + frame.at + 4 + frame.length
    local sketch = sketches[frame.type]
    if sketch then
        local after = show_fields(tree, tvb, at, stop, sketch)
        while sketch.again and after > at and after < stop do
            at, after = after, show_fields(tree, tvb, after, stop, sketch.again)
        end
        at = after
    end
    if at < stop then
        tree:add(sketch and sketch.rest or f.frame_data, tvb(at, stop - at))
    end
    return name_in(frame_types, frame.type)
end

local function show_frame_head(tree, tvb, at, frame)
    tree:add(f.frame_type, tvb(at, 1))
    if not frame.head then
        return
    end
    local flags = tree:add(f.frame_flags, tvb(at + 1, 1))
    if frame.type == MESSAGE then
        flags:add(f.numbered, tvb(at + 1, 1))
    end
    tree:add(f.frame_length, tvb(at + 2, 2))
end

-- Says in words what the frame is.
local function show_frame(tree, tvb, from, frame, s, pinfo, fate)
    local range = tvb(from + frame.at, frame.len)
    if frame.type == PADDING then
        tree:add(f.padding, range)
        return nil
    end
    local sub = tree:add(f.frame, range)
    show_frame_head(sub, tvb, from + frame.at, frame)
    local words
    if not frame.whole then
        words = name_in(frame_types, frame.type) .. " (cut off)"
    elseif frame.type == MESSAGE then
        words = show_message(sub, tvb, from, frame, s, pinfo)
    elseif frame.type == FRAGMENT then
        words = show_fragment(sub, tvb, from, frame, pinfo, fate)
    else
        words = show_skipped(sub, tvb, from, frame)
    end
    sub:set_text("Frame: " .. words)
    show_problems(sub, tvb, from, frame.problems)
    if fate and fate.key then
        show_problem(sub, range, fate)
    end
    return words
end

local function show_header(tree, tvb, from, d)
    tree:add(f.magic, tvb(from, 2))
    tree:add(f.version, tvb(from + 2, 1))
    tree:add(f.header_length, tvb(from + 3, 1))
    if d.stream == nil then
        return
    end
    local flags = tree:add(f.critical_flags, tvb(from + 4, 1))
    flags:add(f.unsequenced, tvb(from + 4, 1))
    flags:add(f.sealed, tvb(from + 4, 1))
    tree:add(f.ignorable_flags, tvb(from + 5, 1))
    tree:add(f.reserved, tvb(from + 6, 2))
    tree:add(f.stream, tvb(from + 8, 8))
    tree:add(f.sequence, tvb(from + 16, 8))
end

local function disposition_of(d, account)
    local sequence = account.sequence
    if d.worst then
        return d.worst
    elseif d.cut then
        return "unknown: not all was captured"
    end
    return sequence and problems[sequence.key][4] or "Accepted"
end

local function show_verdict(tree, range, d, account)
    tree:add(f.disposition, range, disposition_of(d, account)):set_generated()
    local sequence = account.sequence
    if sequence then
        show_problem(tree, range, sequence)
        if sequence.missing then
            tree:add(f.missing, range, sequence.missing):set_generated()
        end
    end
end

local function title(d)
    if d.stream == nil then
        return "MCL"
    end
    local stream = d.stream:gsub(".", function(byte)
        return string.format("%02x", byte:byte())
    end)
    local place = d.unsequenced and "unsequenced" or "sequence " .. shown(d.sequence)
    return "MCL, stream " .. stream .. ", " .. place
end

-- One datagram; says in words what its frames are.
local function show_datagram(tree, tvb, from, d, s, pinfo, account)
    local range = tvb(from, #s)
    local sub = tree:add(mcl, range)
    sub:set_text(title(d))
    if #s >= HEADER_LEN then
        show_header(sub, tvb, from, d)
    end
    if #d.frames > 0 or d.stream and d.worst == nil then
        local len = math.min(d.header_length, #s) - HEADER_LEN
        if len > 0 then
            sub:add(f.extension, tvb(from + HEADER_LEN, len))
        end
    end
    show_problems(sub, tvb, from, d.problems)
    local words = {}
    for index, frame in ipairs(d.frames) do
        words[#words + 1] = show_frame(sub, tvb, from, frame, s, pinfo, account[index])
    end
    if d.cut and d.worst == nil then
        show_problem(sub, range, { key = "cut_by_capture" })
    end
    show_verdict(sub, range, d, account)
    return words, sub
end

-- "a, b, c (5 more)"
local function joined(words)
    local most = 3
    local text = table.concat(words, ", ", 1, math.min(#words, most))
    return #words > most and string.format("%s (%d more)", text, #words - most) or text
end

local function info_of(d, words, account)
    local verdict = disposition_of(d, account)
    local head = verdict == "Accepted" and "" or "[" .. verdict .. "] "
    if d.stream and not d.unsequenced then
        head = head .. "Seq=" .. shown(d.sequence) .. " "
    end
    if #words > 0 then
        return head .. joined(words)
    end
    return head .. (d.problems[1] and problems[d.problems[1].key][3] or "(no message)")
end

local function show_train(tree, tvb, list)
    local range = tvb(0, tvb:len())
    local sub = tree:add(mcl, range)
    sub:set_text(string.format("MCL train: %d datagrams of %d bytes in one packet (offload at work)",
        #list, list[1][2]))
    sub:add(f.train_datagrams, range, #list):set_generated()
    sub:add(f.train_segment, range, list[1][2]):set_generated()
end

local function dissect(tvb, pinfo, tree)
    local s, whole = tvb:raw(0, tvb:len()), tvb:reported_len()
    local list = segments(s, whole)
    if #list > 1 then
        show_train(tree, tvb, list)
    end
    local infos = {}
    for index, place in ipairs(list) do
        local from = place[1]
        local bytes = #list == 1 and s or s:sub(from + 1, from + place[2])
        local d = parse_datagram(bytes, place[2])
        local account = account_of(d, bytes, pinfo, tvb:offset() + from)
        local words, sub = show_datagram(tree, tvb, from, d, bytes, pinfo, account)
        if #list > 1 then
            sub:add(f.train_index, tvb(from, #bytes), index - 1):set_generated()
        end
        infos[index] = info_of(d, words, account)
    end
    pinfo.cols.protocol = "MCL"
    local info = infos[1]
    if #list > 1 then
        info = string.format("[Train of %d] %s … %s", #list, infos[1], infos[#infos])
    end
    pinfo.cols.info = info
end

---------------------------------------------------------------------------------------------------
-- Registration

local function begins_with_magic(tvb)
    return tvb:len() >= 2 and tvb(0, 2):uint() == 0xC14D
end

-- On its port, or by "Decode As": the magic alone decides, so that what is malformed is shown as such.
function mcl.dissector(tvb, pinfo, tree)
    if not begins_with_magic(tvb) then
        return 0
    end
    dissect(tvb, pinfo, tree)
    return tvb:len()
end

-- Elsewhere: magic, version and header length.
local function heuristic(tvb, pinfo, tree)
    local found = tvb:len() >= HEADER_LEN and begins_with_magic(tvb) and tvb(2, 1):uint() == 1
        and tvb(3, 1):uint() >= HEADER_LEN and tvb(3, 1):uint() <= tvb:reported_len()
    if found then
        dissect(tvb, pinfo, tree)
    end
    return found
end

local udp_ports = DissectorTable.get("udp.port")
local ports = mcl.prefs.ports
udp_ports:add(ports, mcl)
mcl:register_heuristic("udp", heuristic)

function mcl.prefs_changed()
    if ports ~= mcl.prefs.ports then
        udp_ports:remove(ports, mcl)
        ports = mcl.prefs.ports
        udp_ports:add(ports, mcl)
    end
end
