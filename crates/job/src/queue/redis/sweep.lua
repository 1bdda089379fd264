-- Removes the names of the dead: consumers that hold nothing and were not heard of for long.
-- Removing one that lives does no harm, it is there again when it reads.
-- KEYS: streams. ARGV: idle time in ms, a name to remove however recent, or '', then the group to look
-- at in each stream
-- Returns how many were removed.
local removed = 0
for at = 1, #KEYS do
    local group = ARGV[at + 2]
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[at], group)) do
        local name, pending, idle = consumer[2], consumer[4], consumer[6]
        if pending == 0 and (idle > tonumber(ARGV[1]) or name == ARGV[2]) then
            redis.call('XGROUP', 'DELCONSUMER', KEYS[at], group, name)
            removed = removed + 1
        end
    end
end
return removed
