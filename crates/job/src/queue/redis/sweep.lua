-- Removes the names of the dead: consumers that hold nothing and were not heard of for long.
-- Removing one that lives does no harm, it is there again when it reads.
-- KEYS: the lanes. ARGV: group, idle time in ms, a name to remove however recent, or ''
-- Returns how many were removed.
local removed = 0
for lane = 1, #KEYS do
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[lane], ARGV[1])) do
        local name, pending, idle = consumer[2], consumer[4], consumer[6]
        if pending == 0 and (idle > tonumber(ARGV[2]) or name == ARGV[3]) then
            redis.call('XGROUP', 'DELCONSUMER', KEYS[lane], ARGV[1], name)
            removed = removed + 1
        end
    end
end
return removed
