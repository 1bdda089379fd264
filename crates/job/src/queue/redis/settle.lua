-- Renews, releases or ends a lease, if it is held: by this consumer, in this delivery.
-- A bare XACK or XCLAIM of a worker that was paused would end or steal another's lease.
-- KEYS: lane (1), where the event goes (2), delayed jobs (3), what else ends with the job (4-…)
-- ARGV: group, entry, consumer, deliveries, operation, the name of released jobs,
--       event or '', lifetime of (2) in ms or 0, job to queue again, delay in ms
-- Returns 1, or 0 if the lease is lost.
local group, entry, consumer, deliveries = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local operation = ARGV[5]

local pending = redis.call('XPENDING', KEYS[1], group, entry, entry, 1)
if #pending == 0 or pending[1][2] ~= consumer or pending[1][4] ~= deliveries then return 0 end

if operation == 'renew' then
    redis.call('XCLAIM', KEYS[1], group, consumer, 0, entry, 'JUSTID')
    return 1
elseif operation == 'release' then
    redis.call('XCLAIM', KEYS[1], group, ARGV[6], 0, entry,
        'RETRYCOUNT', deliveries - 1, 'JUSTID')
    return 1
end

-- What needs memory comes first: a full server refuses it before anything has changed.
if ARGV[7] ~= '' then
    redis.call('XADD', KEYS[2], '*', 'event', ARGV[7])
    if ARGV[8] ~= '0' then redis.pcall('PEXPIRE', KEYS[2], ARGV[8]) end
end
if operation == 'again' then
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
    redis.call('ZADD', KEYS[3], now + tonumber(ARGV[10]), ARGV[9])
elseif operation == 'reject' then
    redis.call('XADD', KEYS[3], '*', 'job', ARGV[9], 'entry', entry)
end
redis.call('XACK', KEYS[1], group, entry)
-- What was told and acknowledged is settled, whether or not this login may tidy up.
redis.pcall('XDEL', KEYS[1], entry)
for key = 4, #KEYS do redis.pcall('DEL', KEYS[key]) end
return 1
