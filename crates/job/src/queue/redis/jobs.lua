-- A page of what the queue holds: what is new in each lane and, if asked for, some of what is delayed.
-- KEYS: the lanes (1-3), delayed jobs (4)
-- ARGV: length of a page, the last entry seen in each lane (2-4), cursor in (4), or ''
-- Returns {next cursor, delayed jobs}, then for each lane its next entries and how many entries were
-- ever added to it.
local page = { '0', {} }
if ARGV[5] ~= '' then
    local scanned = redis.call('ZSCAN', KEYS[4], ARGV[5], 'COUNT', ARGV[1])
    page[1] = scanned[1]
    for at = 1, #scanned[2], 2 do table.insert(page[2], scanned[2][at]) end
end
for lane = 1, 3 do
    page[#page + 1] = redis.call('XRANGE', KEYS[lane], '(' .. ARGV[lane + 1], '+', 'COUNT', ARGV[1])
    local info = redis.call('XINFO', 'STREAM', KEYS[lane])
    for at = 1, #info, 2 do
        if info[at] == 'entries-added' then page[#page + 1] = info[at + 1] end
    end
end
return page
