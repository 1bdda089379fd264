-- Queues jobs: all of them, or, on a server without memory for the first, none.
-- KEYS: the lanes by urgency (1-3). ARGV: the index of a lane and a job, in turn
for at = 1, #ARGV, 2 do
    redis.call('XADD', KEYS[tonumber(ARGV[at])], '*', 'job', ARGV[at + 1])
end
