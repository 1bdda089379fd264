-- Takes one job, if there is one: released, abandoned or new, in this order.
-- KEYS: the lanes in the order to ask them (1-3), delayed jobs (4), the lanes by urgency (5-7)
-- ARGV: group, consumer, idle time in ms from which a lease is over (0: abandon none),
--       the name under which released jobs are kept
-- Returns {lane, entry, job, deliveries, vanished}: `lane` is an index into KEYS, `vanished` counts
-- leased entries that somebody deleted from the stream. If there is no job, `lane` is 0 and
-- `deliveries` the time in ms until the next delayed job comes due, or -1.
local group, consumer, idle, released = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local vanished = 0

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stream_of = { high = KEYS[5], normal = KEYS[6], low = KEYS[7] }
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 16)) do
    -- One that cannot be read must not stop the others; whoever takes it puts it aside.
    local is_read, message = pcall(cjson.decode, job)
    local stream = is_read and type(message) == 'table' and stream_of[message.lane] or KEYS[6]
    -- Without memory for it, the job stays where it is.
    if type(redis.pcall('XADD', stream, '*', 'job', job)) == 'table' then break end
    redis.call('ZREM', KEYS[4], job)
end

local function claim(lane, pending)
    local entry = pending[1][1]
    local claimed = redis.call('XCLAIM', KEYS[lane], group, consumer, 0, entry)
    if #claimed == 0 or not claimed[1] then
        redis.call('XACK', KEYS[lane], group, entry)
        vanished = vanished + 1
        return nil
    end
    local deliveries = redis.call('XPENDING', KEYS[lane], group, entry, entry, 1)[1][4]
    return { lane, entry, claimed[1][2][2], deliveries, vanished }
end

for lane = 1, 3 do
    local pending = redis.call('XPENDING', KEYS[lane], group, '-', '+', 1, released)
    while #pending > 0 do
        local taken = claim(lane, pending)
        if taken then return taken end
        pending = redis.call('XPENDING', KEYS[lane], group, '-', '+', 1, released)
    end
    if idle > 0 then
        pending = redis.call('XPENDING', KEYS[lane], group, 'IDLE', idle, '-', '+', 1)
        while #pending > 0 do
            local taken = claim(lane, pending)
            if taken then return taken end
            pending = redis.call('XPENDING', KEYS[lane], group, 'IDLE', idle, '-', '+', 1)
        end
    end
end

for lane = 1, 3 do
    local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1,
        'STREAMS', KEYS[lane], '>')
    if read then
        local entry = read[1][2][1]
        return { lane, entry[1], entry[2][2], 1, vanished }
    end
end
local next = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
local due_in = next[2] and math.max(0, next[2] - now) or -1
return { 0, '', '', due_in, vanished }
