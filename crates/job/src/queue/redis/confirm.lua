-- Confirms events, and puts those aside that nobody can read or record.
-- In one step: an event that was acknowledged and not deleted would look unconfirmed for ever.
-- KEYS: events (1), what is put aside (2). ARGV: group, 'aside' or 'done', the events
for at = 3, #ARGV do
    local entry = ARGV[at]
    if ARGV[2] == 'aside' then
        -- What needs memory comes first. One that is gone was put aside before.
        local found = redis.call('XRANGE', KEYS[1], entry, entry)[1]
        if found then
            redis.call('XADD', KEYS[2], '*', 'event', found[2][2], 'entry', entry)
        end
    end
    redis.call('XACK', KEYS[1], ARGV[1], entry)
    -- What was acknowledged is confirmed, whether or not this login may tidy up.
    redis.pcall('XDEL', KEYS[1], entry)
end
