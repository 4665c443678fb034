-- Lanes: the waiting tasks of an origin, by kind, and what its robots.txt says. Ready lanes take turns; `times` has when
-- others wake (kind and origin) and when tasks wait no longer (d and number).

local lanes, changed_lanes = {}, {}

local function queue_of(origin, kind)
  return BASE .. 'queue:' .. kind .. ':' .. origin
end

-- Orphans, which some worker lost, wait apart, so that nothing waits behind one that must not be given out yet.
local function orphans_of(origin, kind)
  return BASE .. 'orphans:' .. kind .. ':' .. origin
end

local function waits(origin, kind)
  return redis.call('EXISTS', queue_of(origin, kind), orphans_of(origin, kind)) > 0
end

local function lane_of(origin)
  local lane = lanes[origin]
  if not lane then
    local kept = redis.call('HGET', BASE .. 'lanes', origin)
    if kept then
      lane = cmsgpack.unpack(kept)
    else
      lane = {robots = false, robots_time = 0, asked = false, attempts = 0, closed = false, why = ''}
      if origin == call.nowhere then lane.closed, lane.why = call.bad_url, 'no http or https URL' end
    end
    lanes[origin] = lane
  end
  return lane
end

local function write_lanes()
  for origin in pairs(changed_lanes) do redis.call('HSET', BASE .. 'lanes', origin, cmsgpack.pack(lanes[origin])) end
end

local function authority_of(origin)
  return string.match(origin, '://(.*)$') or ''
end

local function sleep(origin, kind, till)
  redis.call('ZADD', BASE .. 'times', till, kind .. origin)
end

local enrol, delay
local closed_now = false  -- some lane was closed in this call

local function push(origin, task, first)
  local line = task.lost > 0 and orphans_of or queue_of
  redis.call(first and 'LPUSH' or 'RPUSH', line(origin, task.kind), task.row)
end

-- Let a lane ask for its robots.txt: a task of its own.
local function want_robots(origin, lane, attempts, due)
  if lane.asked then return end
  lane.asked = true
  changed_lanes[origin] = true
  local task = {number = advance_number(), source = 0, kind = ROBOTS, attempts = attempts or 0, lost = 0,
    first = 0, id = string.rep('\0', 16), row = ''}
  rewritten(task, cmsgpack.pack({origin .. '/robots.txt', '', 0, 0, 0, '', 0}))
  if due and due > now then
    delay(origin, task, due)
  else
    push(origin, task)
    enrol(origin, ROBOTS)
  end
end

local function knows_robots(lane, origin)
  if not call.robots or origin == '' then return true end
  if lane.robots and now - lane.robots_time > call.robots_age then lane.robots = false end
  return lane.robots ~= false
end

-- Let a lane with waiting tasks take its turn, or ask for its robots.txt first.
enrol = function(origin, kind, first)
  if not waits(origin, kind) then return end
  local lane = lane_of(origin)
  if lane.closed and kind ~= ROBOTS then
    redis.call('SADD', BASE .. 'closed', origin)
    closed_now = true
  elseif kind ~= ROBOTS and not knows_robots(lane, origin) then
    want_robots(origin, lane)
  else
    local turn = advance('turn', 1)
    redis.call('ZADD', BASE .. 'ready:' .. kind, 'NX', first and -turn or turn, origin)
  end
end

-- Let a task wait again until `due`: it lies aside, by number.
delay = function(origin, task, due)
  local number = key_of(task.number)
  redis.call('ZADD', BASE .. 'times', due, 'd' .. number)
  redis.call('HSET', BASE .. 'delayed', number, keep(origin, task.row))
end

local function wake()
  local woken = redis.call('ZRANGEBYSCORE', BASE .. 'times', '-inf', now, 'LIMIT', 0, 500)
  for _, name in ipairs(woken) do
    redis.call('ZREM', BASE .. 'times', name)
    local what, rest = string.sub(name, 1, 1), string.sub(name, 2)
    local kept = what == 'd' and redis.call('HGET', BASE .. 'delayed', rest)
    if kept then
      redis.call('HDEL', BASE .. 'delayed', rest)
      local origin, row = split(kept)
      local task = read_row(row)
      push(origin, task, true)
      enrol(origin, task.kind)
    elseif what ~= 'd' then
      enrol(rest, tonumber(what))
    end
  end
end

-- When this partition next has something to do by itself; 0 where it has not.
local function next_time()
  return redis.call('ZRANGE', BASE .. 'times', 0, 0, 'WITHSCORES')[2] or '0'
end

-- Let tasks of an origin be asked for again that were ended with it.
local function open_again(origin)
  local lane = lane_of(origin)
  if not lane.closed or origin == call.nowhere then return end
  lane.closed, lane.why, lane.attempts = false, '', 0
  changed_lanes[origin] = true
  redis.call('SREM', BASE .. 'closed', origin)
  local pace = pace_of(authority_of(origin))
  pace.failures, pace.blocked = 0, 0
end

local function close(origin, outcome, why)
  local lane = lane_of(origin)
  if lane.closed then return end
  lane.closed, lane.why, lane.asked = outcome, why, false
  changed_lanes[origin] = true
  redis.call('SADD', BASE .. 'closed', origin)
  closed_now = true
  local delayed = redis.call('HGETALL', BASE .. 'delayed')  -- nothing is worth waiting for
  for at = 1, #delayed, 2 do
    local of, row = split(delayed[at + 1])
    if of == origin then
      redis.call('HDEL', BASE .. 'delayed', delayed[at])
      redis.call('ZREM', BASE .. 'times', 'd' .. delayed[at])
      if read_row(row).kind ~= ROBOTS then push(origin, read_row(row)) end
    end
  end
end
