-- The queue in Redis, as one script: each call is atomic, and may be repeated when its answer was lost, but for `hear`:
-- what it took from the stream is gone with its answer, and is found by the bot's sweep.
-- KEYS[1]: the prefix of all keys, a hash tag, so that a cluster keeps them in one slot. ARGV[1]: the names of all lines,
-- with commas between; of a worker's calls, those that it takes from. ARGV[2]: the command.
--
--   prefix:job:ID      hash    the job, its place and its outcome, from `admit` to `forget`
--   prefix:cancelled:ID string  nobody wants this job any more, for a while
--   prefix:media:ID    string  its media, from `put` until it is over
--   prefix:line:LINE   stream  ids of jobs in line; consumer group "workers"; an entry is deleted when its job is over
--   prefix:requests    hash    PERSON:REQUEST → its open jobs
--   prefix:people      hash    person → open requests
--   prefix:jobs        hash    person → open jobs
--   prefix:open        zset    ids of all jobs, by the time of their admission
--   prefix:lasting     zset    of these, ids of those that nobody takes up again, by the time until which they are waited for
--   prefix:workers     zset    workers, by the time until which they count as alive
--   prefix:served      hash    line → the time until which a worker that takes from it counts as alive
--   prefix:forgotten   zset    places that workers are to forget, by when they were told
--   prefix:told:BOT    stream  what the bot is to look at: "d:ID" (done), "f:ID" (forgotten), "p:SHARE:ID" (progress)

local prefix, command = KEYS[1], ARGV[2]
local LINES = {}
for line in string.gmatch(ARGV[1], '[^,]+') do table.insert(LINES, line) end
local GROUP = 'workers'
local GIVEN_BACK = 86400000 -- idle time (ms) that an entry is given when its worker hands it back
local TOLD_SECONDS = 3600 -- for which a bot that is gone is still written to
local SERVED_SECONDS = 86400 -- for which it is known that workers took from a line
local FORGOTTEN_SECONDS = 7200 -- longer than workers keep anything
local along = 262144 -- bytes of media or outcomes that may still go with the answer to this call

local function job_key(id) return prefix .. ':job:' .. id end
local function media_key(id) return prefix .. ':media:' .. id end
local function cancelled_key(id) return prefix .. ':cancelled:' .. id end
local function line_key(line) return prefix .. ':line:' .. line end
local function kind_of(line) return (string.gsub(line, '-bulk$', '')) end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A Redis that is full refuses a script's first write, unless that write frees memory; those after it pass. So that what
-- ends jobs, and thereby makes room, goes on, such commands begin with a write of that kind.
local function pass_when_full() redis.call('DEL', prefix .. ':nothing') end

local function get(id, field) return redis.call('HGET', job_key(id), field) end

local function tell(id, message)
  local bot = get(id, 'bot')
  if bot then
    local key = prefix .. ':told:' .. bot
    redis.call('XADD', key, '*', 'm', message)
    redis.call('EXPIRE', key, TOLD_SECONDS)
  end
end

local function count_down(key, field)
  if redis.call('HINCRBY', key, field, -1) <= 0 then
    redis.call('HDEL', key, field)
    return true
  end
end

-- A stream never exists without its group.
local function ensure(line)
  if redis.call('EXISTS', line_key(line)) == 0 then
    redis.call('XGROUP', 'CREATE', line_key(line), GROUP, '0', 'MKSTREAM')
  end
end

local function leave_line(id)
  local entry, line = get(id, 'entry'), get(id, 'line')
  if entry and line then
    redis.call('XACK', line_key(line), GROUP, entry)
    redis.call('XDEL', line_key(line), entry)
  end
  redis.call('HDEL', job_key(id), 'entry', 'holder', 'returned')
  redis.call('DEL', media_key(id))
end

local function settle(id, outcome)
  leave_line(id)
  redis.call('HSET', job_key(id), 'state', 'done', 'outcome', outcome)
  tell(id, 'd:' .. id)
end

-- `by`: the bot that forgets it, which need not be told.
local function forget(id, by)
  local job = redis.call('HMGET', job_key(id), 'user', 'request', 'bot')
  if not job[1] then return end
  leave_line(id)
  if job[3] ~= by then tell(id, 'f:' .. id) end
  redis.call('DEL', job_key(id))
  redis.call('ZREM', prefix .. ':open', id)
  redis.call('ZREM', prefix .. ':lasting', id)
  if count_down(prefix .. ':requests', job[1] .. ':' .. job[2]) then count_down(prefix .. ':people', job[1]) end
  count_down(prefix .. ':jobs', job[1])
end

-- Whether the consumer holds the job. Its entry is touched, so that the lease runs anew from `idle` ms.
local function renew(id, consumer, idle)
  local job = redis.call('HMGET', job_key(id), 'holder', 'entry', 'line')
  if job[1] ~= consumer or not job[2] then return false end
  redis.call('XCLAIM', line_key(job[3]), GROUP, consumer, 0, job[2], 'IDLE', idle, 'JUSTID')
  return true
end

-- With its media, as long as those of all jobs of the call are few bytes; the worker fetches the others.
local function deliver(id, consumer)
  redis.call('HDEL', job_key(id), 'returned')
  redis.call('HSET', job_key(id), 'holder', consumer)
  local job = redis.call('HMGET', job_key(id), 'entry', 'job', 'line')
  local size, media = redis.call('STRLEN', media_key(id)), false
  if size <= along then
    along = along - size
    media = redis.call('GET', media_key(id))
  end
  local waited = now - string.match(job[1], '^%d+')
  return {id, redis.call('HINCRBY', job_key(id), 'attempts', 1), job[2], waited, job[3], media}
end

local commands = {}

function commands.admit(id, job, user, request, wanted, before, bot, most, most_per_person, quick, lasts)
  if redis.call('EXISTS', job_key(id)) == 1 then
    pass_when_full()
    redis.call('HSET', job_key(id), 'bot', bot, 'job', job) -- as this version of the bot writes it
    if get(id, 'state') == 'done' then tell(id, 'd:' .. id) end
    return {'ok'}
  end
  local requests, field = prefix .. ':requests', user .. ':' .. request
  if redis.call('HEXISTS', requests, field) == 0 then
    if before == '0' then
      local open = tonumber(redis.call('HGET', prefix .. ':people', user) or '0')
      if open >= tonumber(most_per_person) then return {'person', open} end
      if redis.call('HLEN', requests) >= tonumber(most) then return {'full'} end
    end
    redis.call('HINCRBY', prefix .. ':people', user, 1)
  end
  redis.call('HINCRBY', requests, field, 1)
  local line = wanted
  if redis.call('HINCRBY', prefix .. ':jobs', user, 1) > tonumber(quick) then line = wanted .. '-bulk' end
  redis.call('HSET', job_key(id), 'job', job, 'user', user, 'request', request, 'line', line, 'bot', bot,
    'state', 'admitted', 'attempts', 0)
  redis.call('ZADD', prefix .. ':open', now, id)
  if lasts ~= '0' then redis.call('ZADD', prefix .. ':lasting', now + lasts, id) end
  return {'ok'}
end

function commands.has(id)
  local state = get(id, 'state')
  return (state == 'waiting' or state == 'done') and 1 or 0
end

function commands.put(id, media)
  if redis.call('EXISTS', cancelled_key(id)) == 1 then return 'cancelled' end
  local state = get(id, 'state')
  if not state then return 'unknown' end
  if state ~= 'admitted' and state ~= 'lost' then return 'ok' end
  local line = get(id, 'line')
  ensure(line)
  redis.call('SET', media_key(id), media)
  local entry = redis.call('XADD', line_key(line), '*', 'id', id)
  redis.call('HSET', job_key(id), 'state', 'waiting', 'entry', entry)
  return 'new'
end

-- For each id: its state ("gone" when it is not there), and its outcome when it is done.
function commands.collect(...)
  local found = {}
  for _, id in ipairs({...}) do
    local job = redis.call('HMGET', job_key(id), 'state', 'outcome')
    table.insert(found, {job[1] or 'gone', job[2] or ''})
  end
  return found
end

-- What the bot was told, as far as `along` reaches; of jobs that are done, what `collect` says.
function commands.hear(bot, most)
  local key, told, done = prefix .. ':told:' .. bot, {}, {}
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+', 'COUNT', most)) do
    if along <= 0 then break end
    local message = entry[2][2]
    redis.call('XDEL', key, entry[1])
    table.insert(told, message)
    if string.sub(message, 1, 2) == 'd:' then
      local id = string.sub(message, 3)
      along = along - redis.call('HSTRLEN', job_key(id), 'outcome')
      table.insert(done, id)
    end
  end
  if #told > 0 and redis.call('XLEN', key) == 0 then redis.call('DEL', key) end
  return {told, commands.collect(unpack(done))}
end

function commands.states(...)
  local found = {}
  for _, id in ipairs({...}) do table.insert(found, get(id, 'state') or 'gone') end
  return found
end

function commands.forget(bot, id)
  forget(id, bot)
end

function commands.cancel(bot, id, seconds)
  pass_when_full()
  redis.call('SET', cancelled_key(id), '1', 'EX', seconds)
  forget(id, bot)
end

function commands.cancelled(id)
  return redis.call('EXISTS', cancelled_key(id))
end

-- Times rise strictly, whatever the clock does, so that a worker that has read up to one misses none.
function commands.forget_place(place)
  pass_when_full()
  local key = prefix .. ':forgotten'
  local last = tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] or '0')
  redis.call('ZADD', key, math.max(now, last + 1), place)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - FORGOTTEN_SECONDS * 1000)
  redis.call('EXPIRE', key, FORGOTTEN_SECONDS)
end

-- The places since the time `told`, and the time to ask with next.
function commands.forgotten(told)
  local found = redis.call('ZRANGEBYSCORE', prefix .. ':forgotten', '(' .. told, '+inf', 'WITHSCORES')
  local places = {}
  for at = 1, #found, 2 do
    table.insert(places, found[at])
    told = found[at + 1]
  end
  return {told, places}
end

function commands.position(id)
  local entry, line = get(id, 'entry'), get(id, 'line')
  if not entry or get(id, 'holder') then return 0 end
  local last
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', line_key(line))) do
    for at = 1, #group, 2 do
      if group[at] == 'last-delivered-id' then last = group[at + 1] end
    end
  end
  return #redis.call('XRANGE', line_key(line), '(' .. last, '(' .. entry)
end

function commands.status()
  local waiting, in_work, since = {}, 0, {}
  for at, line in ipairs(LINES) do
    local taken = 0
    if redis.call('EXISTS', line_key(line)) == 1 then
      taken = redis.call('XPENDING', line_key(line), GROUP)[1]
    end
    waiting[at] = redis.call('XLEN', line_key(line)) - taken
    in_work = in_work + taken
    local served = redis.call('HGET', prefix .. ':served', line)
    since[at] = served and now - served or -1000000000
  end
  return {waiting, in_work, redis.call('HLEN', prefix .. ':requests'),
    redis.call('ZCOUNT', prefix .. ':workers', now, '+inf'), since}
end

-- The worker and its lines count as alive for a lease. Written seldom: each write may wait for the disk.
local function alive(consumer, lease)
  local known = redis.call('ZSCORE', prefix .. ':workers', consumer)
  if not known or tonumber(known) < now + lease * 0.8 then
    redis.call('ZADD', prefix .. ':workers', now + lease, consumer)
    for _, line in ipairs(LINES) do redis.call('HSET', prefix .. ':served', line, now + lease) end
    redis.call('EXPIRE', prefix .. ':served', SERVED_SECONDS)
  end
end

-- What workers failed to finish and what they handed back, the former one at a time. `held`: kinds of lines of which the
-- worker has jobs in hand, with commas around. Answers with "jobs" and a list, with "suspect" when something waits for
-- this worker to have nothing else of its kind in hand, or nothing at all (the last attempt), or not at all.
local function again(consumer, wanted, most, held, lease, max_attempts, crashed)
  local jobs = {}
  for _, line in ipairs(LINES) do
    for _, pending in ipairs(redis.call('XPENDING', line_key(line), GROUP, 'IDLE', lease, '-', '+', 64)) do
      local entry = pending[1]
      local found = redis.call('XRANGE', line_key(line), entry, entry)[1]
      local id = found and found[2][2]
      if not id or get(id, 'entry') ~= entry then -- forgotten
        redis.call('XACK', line_key(line), GROUP, entry)
        redis.call('XDEL', line_key(line), entry)
      elseif get(id, 'returned') and tonumber(get(id, 'attempts')) == 0 then
        if line == wanted and #jobs < most then
          redis.call('XCLAIM', line_key(line), GROUP, consumer, 0, entry, 'JUSTID')
          table.insert(jobs, deliver(id, consumer))
        end
      elseif tonumber(get(id, 'attempts')) >= max_attempts then
        settle(id, crashed)
      elseif #jobs == 0 then
        local last = tonumber(get(id, 'attempts')) + 1 >= max_attempts
        if held == '' or not (last or string.find(held, ',' .. kind_of(line) .. ',', 1, true)) then
          redis.call('XCLAIM', line_key(line), GROUP, consumer, 0, entry, 'JUSTID')
          return {'jobs', {deliver(id, consumer)}}
        end
        if last or kind_of(line) == kind_of(wanted) then return {'suspect'} end
      end
    end
  end
  if #jobs > 0 then return {'jobs', jobs} end
end

-- Jobs; after the last of a line, with where its stream ends, or "none" with this alone.
function commands.take(consumer, wanted, most, held, lease, max_attempts, crashed)
  pass_when_full()
  alive(consumer, lease)
  for _, line in ipairs(LINES) do ensure(line) end
  most = tonumber(most)
  local jobs = again(consumer, wanted, most, held, lease, tonumber(max_attempts), crashed)
  if jobs then return jobs end
  jobs = {}
  local key = line_key(wanted)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', most, 'STREAMS', key, '>')
  if read then
    local last
    for _, entry in ipairs(read[1][2]) do
      last = entry[1]
      table.insert(jobs, deliver(entry[2][2], consumer))
    end
    return #jobs < most and {'jobs', jobs, last} or {'jobs', jobs}
  end
  local stream = redis.call('XINFO', 'STREAM', key)
  for at = 1, #stream, 2 do
    if stream[at] == 'last-generated-id' then return {'none', stream[at + 1]} end
  end
end

function commands.extend(consumer, lease, ...)
  pass_when_full()
  alive(consumer, lease)
  local kept = {}
  for _, id in ipairs({...}) do
    if renew(id, consumer, 0) then table.insert(kept, id) end
  end
  return kept
end

function commands.progress(consumer, id, share)
  pass_when_full()
  if get(id, 'holder') == consumer then tell(id, 'p:' .. share .. ':' .. id) end
end

-- A job that this worker does not understand waits for others: looked at again when a lease is over, so that it does not
-- stand before what this worker can do.
function commands.pass_on(consumer, id)
  if renew(id, consumer, 0) then
    redis.call('HINCRBY', job_key(id), 'attempts', -1)
    redis.call('HSET', job_key(id), 'returned', 1)
    redis.call('HDEL', job_key(id), 'holder')
  end
end

-- Whoever hands an outcome in: a worker whose lease has run out may still be the first.
function commands.finish(...)
  local pairs_of = {...} -- id, outcome, id, outcome …
  for at = 1, #pairs_of, 2 do
    if get(pairs_of[at], 'state') == 'waiting' then settle(pairs_of[at], pairs_of[at + 1]) end
  end
end

-- The media are gone: the bot is to put the job again.
function commands.lost(id)
  if get(id, 'state') == 'waiting' then
    leave_line(id)
    redis.call('HSET', job_key(id), 'state', 'lost', 'attempts', 0)
    tell(id, 'd:' .. id)
  end
end

-- The outcome is of another version: the bot is to put the job again.
function commands.redo(id)
  if get(id, 'state') == 'done' then
    redis.call('HDEL', job_key(id), 'outcome')
    redis.call('HSET', job_key(id), 'state', 'lost', 'attempts', 0)
  end
end

function commands.give_back(consumer, ...)
  for _, id in ipairs({...}) do
    if renew(id, consumer, GIVEN_BACK) then
      redis.call('HINCRBY', job_key(id), 'attempts', -1)
      redis.call('HSET', job_key(id), 'returned', 1)
      redis.call('HDEL', job_key(id), 'holder')
    end
  end
end

function commands.leave(consumer)
  redis.call('ZREM', prefix .. ':workers', consumer)
end

-- Drop workers that are gone and hold nothing, jobs that nobody waits for any more, and those older than `keep` ms.
function commands.sweep(keep)
  redis.call('ZREMRANGEBYSCORE', prefix .. ':workers', '-inf', now - 60000)
  for key, time in pairs({open = now - keep, lasting = now}) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. ':' .. key, '-inf', time, 'LIMIT', 0, 100)) do
      forget(id)
      redis.call('ZREM', prefix .. ':' .. key, id)
    end
  end
  for _, line in ipairs(LINES) do
    if redis.call('EXISTS', line_key(line)) == 1 then
      for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', line_key(line), GROUP)) do
        local facts = {}
        for at = 1, #consumer, 2 do facts[consumer[at]] = consumer[at + 1] end
        if facts.pending == 0 and not redis.call('ZSCORE', prefix .. ':workers', facts.name) then
          redis.call('XGROUP', 'DELCONSUMER', line_key(line), GROUP, facts.name)
        end
      end
    end
  end
end

local handler = commands[command]
if not handler then return redis.error_reply('ERR unknown command of the queue: ' .. tostring(command)) end
return handler(unpack(ARGV, 3))
