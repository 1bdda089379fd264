-- Does once, to keys of its own, what the queue does to its own, and removes them, whatever comes of it.
-- KEYS: a stream, a sorted set, a value
local stream, set, value = KEYS[1], KEYS[2], KEYS[3]

local function try()
    local entry = redis.call('XADD', stream, '*', 'job', 'trial')
    redis.call('PEXPIRE', stream, 60000)
    redis.call('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
    redis.call('XREADGROUP', 'GROUP', 'workers', 'trial', 'COUNT', 1, 'STREAMS', stream, '>')
    redis.call('XPENDING', stream, 'workers', '-', '+', 1)
    redis.call('XCLAIM', stream, 'workers', 'trial', 0, entry, 'JUSTID')
    redis.call('XAUTOCLAIM', stream, 'workers', 'trial', 0, '0', 'COUNT', 1)
    redis.call('XACK', stream, 'workers', entry)
    redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
    redis.call('XREAD', 'COUNT', 1, 'STREAMS', stream, '0')
    redis.call('XINFO', 'STREAM', stream)
    redis.call('XINFO', 'GROUPS', stream)
    redis.call('XLEN', stream)
    redis.call('XDEL', stream, entry)
    redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', 'trial')
    redis.call('ZADD', set, redis.call('TIME')[1], 'job')
    redis.call('PEXPIRE', set, 60000)
    redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    redis.call('ZRANGEBYSCORE', set, '-inf', '+inf', 'LIMIT', 0, 1)
    redis.call('ZCARD', set)
    redis.call('ZSCAN', set, 0, 'COUNT', 1)
    redis.call('ZREM', set, 'job')
    redis.call('SET', value, 1, 'EX', 60)
    redis.call('GET', value)
    redis.call('MGET', value)
end

local done, why = pcall(try)
local removed = redis.pcall('DEL', stream, set, value)
-- Redis 7 makes words of the error that it catches, which alone would look like an answer.
if type(why) == 'table' then return why end
if not done then return redis.error_reply(why) end
if type(removed) == 'table' then return removed end
return 1
