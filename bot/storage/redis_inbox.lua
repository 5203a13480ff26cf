-- The inbox in Redis, as one script: each call is atomic. KEYS[1]: the prefix of all keys, with a hash tag, so that a
-- cluster keeps them in one slot. ARGV: the command, the process that asks, a token of this call, and what it needs.
-- A call that is repeated with its token, because its answer was lost, gets the same answer and changes nothing.
--
--   prefix:body      hash  update → the update as it came; there as long as it is not acknowledged
--   prefix:received  hash  update → seconds since the epoch
--   prefix:attempts  hash  update → crashes of a bot it was there for
--   prefix:owner     hash  update → the process that has it in work; empty: none, after a clean stop or a retry by hand
--   prefix:alone     hash  process → the update it has in work alone
--   prefix:calls     hash  process:command → token and answer of its last call of "record", and of "take": the two
--                          overlap, and the one must not wipe out what the other may still have to hear again
--   prefix:alive     zset  processes, by the time (ms) until which they count as alive
--   prefix:struck    zset  updates that were acknowledged, by time
--   prefix:notices   hash  CHAT:MESSAGE → the process that shows this notice
--   prefix:dead      hash  update → what was given up; prefix:died  zset  the same by time

local prefix, command, me, token = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local function key(name) return prefix .. ':' .. name end

local ALIVE = 30000 -- ms for which a process counts as alive after it last asked
local MOST_ACKNOWLEDGED = 100000 -- Telegram repeats the latest few hundred at most
local MOST_DEAD = 10000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function entries(ids)
  local found = {}
  for _, id in ipairs(ids) do
    local body = redis.call('HGET', key('body'), id)
    if body then
      found[#found + 1] = {
        id, body, redis.call('HGET', key('received'), id), tonumber(redis.call('HGET', key('attempts'), id) or 0),
      }
    end
  end
  return found
end

local function call_of(process, name) return process .. ':' .. name end

local function forget_calls(process)
  redis.call('HDEL', key('calls'), call_of(process, 'record'), call_of(process, 'take'))
end

local function said_before()
  local last = redis.call('HGET', key('calls'), call_of(me, command))
  if last and string.sub(last, 1, #token + 1) == token .. ':' then
    local ids = {}
    for id in string.gmatch(string.sub(last, #token + 2), '[^,]+') do ids[#ids + 1] = id end
    return ids
  end
end

local function say(ids)
  if #ids > 0 then -- else a repetition finds nothing either
    redis.call('HSET', key('calls'), call_of(me, command), token .. ':' .. table.concat(ids, ','))
  end
  return ids
end

local function add(id, body, received, owner)
  redis.call('HSET', key('body'), id, body)
  redis.call('HSET', key('received'), id, received)
  redis.call('HSET', key('owner'), id, owner)
end

local function remove(id)
  for _, name in ipairs({'body', 'received', 'attempts', 'owner'}) do redis.call('HDEL', key(name), id) end
  if redis.call('HGET', key('alone'), me) == id then redis.call('HDEL', key('alone'), me) end
end

local function drop_dead(ids)
  for _, id in ipairs(ids) do
    redis.call('HDEL', key('dead'), id)
    redis.call('ZREM', key('died'), id)
  end
end

local function chosen(first) -- the ids named in ARGV, or all
  local ids = {}
  for index = first, #ARGV do ids[#ids + 1] = ARGV[index] end
  if ids[1] == 'all' then ids = redis.call('ZRANGE', key('died'), 0, -1) end
  return ids
end

if command == 'record' then -- time, the time before which ids are forgotten, id, body, id, body …: the ids that are new
  local before = said_before()
  if before then return before end
  redis.call('ZADD', key('alive'), now + ALIVE, me)
  redis.call('ZREMRANGEBYSCORE', key('struck'), '-inf', '(' .. ARGV[5])
  redis.call('ZREMRANGEBYRANK', key('struck'), 0, -MOST_ACKNOWLEDGED - 1)
  local new = {}
  for index = 6, #ARGV, 2 do
    local id = ARGV[index]
    if redis.call('HEXISTS', key('body'), id) == 0 and not redis.call('ZSCORE', key('struck'), id) then
      add(id, ARGV[index + 1], ARGV[4], me)
      new[#new + 1] = id
    end
  end
  return say(new)

elseif command == 'take' then -- "all" or "free", the most attempts, the times before which letters and ids go
  local before = said_before()
  if before then return entries(before) end
  drop_dead(redis.call('ZRANGEBYSCORE', key('died'), '-inf', '(' .. ARGV[6])) -- also when nobody writes for days
  redis.call('ZREMRANGEBYSCORE', key('struck'), '-inf', '(' .. ARGV[7])
  local all, most = ARGV[4] == 'all', tonumber(ARGV[5])
  if all then redis.call('DEL', key('alive')) end
  redis.call('ZADD', key('alive'), now + ALIVE, me)
  local gone = {} -- the process → whether it is
  local function is_gone(process)
    if gone[process] == nil then
      gone[process] = all or (process ~= me and tonumber(redis.call('ZSCORE', key('alive'), process) or 0) < now)
    end
    return gone[process]
  end
  local owners, taken = redis.call('HGETALL', key('owner')), {}
  for index = 1, #owners, 2 do
    local id, owner = owners[index], owners[index + 1]
    if owner == '' or is_gone(owner) then
      if owner ~= '' then -- it went without a word
        local attempts = tonumber(redis.call('HGET', key('attempts'), id) or 0)
        if attempts < most or redis.call('HGET', key('alone'), owner) == id then
          redis.call('HSET', key('attempts'), id, attempts + 1)
        end
      end
      redis.call('HSET', key('owner'), id, me)
      taken[#taken + 1] = id
    end
  end
  for process, is in pairs(gone) do
    if is then redis.call('HDEL', key('alone'), process) end
  end
  for _, process in ipairs(redis.call('ZRANGEBYSCORE', key('alive'), '-inf', '(' .. now)) do
    redis.call('ZREM', key('alive'), process)
    redis.call('HDEL', key('alone'), process)
    forget_calls(process)
  end
  if all then redis.call('DEL', key('alone'), key('calls')) end
  return entries(say(taken))

elseif command == 'waiting' then
  return entries(redis.call('HKEYS', key('body')))

elseif command == 'acknowledge' then -- id, time
  if redis.call('HEXISTS', key('body'), ARGV[4]) == 1 then
    remove(ARGV[4]) -- first: a full Redis refuses scripts that begin by adding
    redis.call('ZADD', key('struck'), ARGV[5], ARGV[4])
  end

elseif command == 'alone' then -- id
  redis.call('HSET', key('alone'), me, ARGV[4])

elseif command == 'stopped' then
  redis.call('ZREM', key('alive'), me)
  redis.call('HDEL', key('alone'), me)
  forget_calls(me)
  local owners = redis.call('HGETALL', key('owner'))
  for index = 1, #owners, 2 do
    if owners[index + 1] == me then redis.call('HSET', key('owner'), owners[index], '') end
  end

elseif command == 'shown' then -- notice
  redis.call('HSET', key('notices'), ARGV[4], me)

elseif command == 'removed' then -- notice
  redis.call('HDEL', key('notices'), ARGV[4])

elseif command == 'notices' then
  local found, notices = {}, redis.call('HGETALL', key('notices'))
  for index = 1, #notices, 2 do
    local process = notices[index + 1]
    if process ~= me and tonumber(redis.call('ZSCORE', key('alive'), process) or 0) < now then
      found[#found + 1] = notices[index]
    end
  end
  return found

elseif command == 'dead_letter' then -- id, time, what is kept of it, the time before which the dead are forgotten
  local id = ARGV[4]
  drop_dead(redis.call('ZRANGEBYSCORE', key('died'), '-inf', '(' .. ARGV[7]))
  if redis.call('HEXISTS', key('body'), id) == 1 then
    remove(id)
    redis.call('HSET', key('dead'), id, ARGV[6])
    redis.call('ZADD', key('died'), ARGV[5], id)
    drop_dead(redis.call('ZRANGE', key('died'), 0, -MOST_DEAD - 1))
    redis.call('ZADD', key('struck'), ARGV[5], id)
  end

elseif command == 'dead' then -- the time before which they are forgotten
  drop_dead(redis.call('ZRANGEBYSCORE', key('died'), '-inf', '(' .. ARGV[4]))
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', key('died'), 0, -1)) do
    found[#found + 1] = redis.call('HGET', key('dead'), id)
  end
  return found

elseif command == 'retry' then -- time, ids or "all"
  local done = 0
  for _, id in ipairs(chosen(5)) do
    local letter = redis.call('HGET', key('dead'), id)
    if letter then
      local length = tonumber(string.match(letter, '^%d+'))
      local start = #tostring(length) + 2 -- "LENGTH:BODY" and then the rest, so that no JSON need be understood here
      add(id, string.sub(letter, start, start + length - 1), ARGV[4], '')
      redis.call('ZREM', key('struck'), id)
      drop_dead({id})
      done = done + 1
    end
  end
  return done

elseif command == 'drop' then -- ids or "all"
  local ids, done = chosen(4), 0
  for _, id in ipairs(ids) do done = done + redis.call('HEXISTS', key('dead'), id) end
  drop_dead(ids)
  return done

else
  return redis.error_reply('ERR unknown command ' .. command)
end
