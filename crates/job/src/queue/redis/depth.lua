-- What waits and what runs.
-- KEYS: the lanes (1-3), delayed jobs (4), events (5). ARGV: groups of the workers and of the recorders
-- Returns {waiting, running, oldest in ms} for each lane, then delayed, events, names of workers, and how
-- old the oldest event is that is not confirmed, in ms, or -1.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function age(entry) return math.max(0, now - tonumber(string.match(entry, '^%d+'))) end
local depth, names, workers = {}, {}, 0
for lane = 1, 3 do
    local waiting, running, oldest = 0, 0, 0
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[lane])) do
        if group[2] == ARGV[1] then
            running = group[6]
            -- The server's own count of what was not delivered (its "lag") is unknown after an
            -- entry was deleted; all that is ever deleted here was delivered.
            -- Fewer than run there are only if somebody else deleted one.
            waiting = math.max(0, redis.call('XLEN', KEYS[lane]) - running)
            local first = redis.call('XRANGE', KEYS[lane], '(' .. group[8], '+', 'COUNT', 1)[1]
            if first then oldest = age(first[1]) end
        end
    end
    depth[#depth + 1] = waiting
    depth[#depth + 1] = running
    depth[#depth + 1] = oldest
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[lane], ARGV[1])) do
        if not names[consumer[2]] then
            names[consumer[2]] = true
            workers = workers + 1
        end
    end
end
depth[#depth + 1] = redis.call('ZCARD', KEYS[4])
depth[#depth + 1] = redis.call('XLEN', KEYS[5])
depth[#depth + 1] = workers
depth[#depth + 1] = -1
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[5])) do
    if group[2] == ARGV[2] then
        -- What was handed out comes before what was not.
        local pending = redis.call('XPENDING', KEYS[5], ARGV[2])
        local first = redis.call('XRANGE', KEYS[5], '(' .. group[8], '+', 'COUNT', 1)[1]
        if pending[1] > 0 then
            depth[#depth] = age(pending[2])
        elseif first then
            depth[#depth] = age(first[1])
        end
    end
end
return depth
