-- Which worker gets which task, under which grant.

local SCAN, MOST_BYTES = 512, 8 * 2 ^ 20
local TURN = 5
local alone  -- what came of tasks that are given out by themselves: 'waits' or 'holds'
local holds = call.holds  -- how many tasks the worker holds, here and elsewhere
local orphans_left = call.orphans  -- how many orphans it may still be given

-- How many more tasks of a host a worker may take: ever more while it uses them up quickly.
local function room_at(pace, worker, held, requests)
  if pace.delay > 0 then return math.max(1, math.floor(TURN / pace.delay)) - held end
  local share = pace.shares[worker]
  if not share.tasks then
    share.tasks, share.given = math.max(4 * requests, 8), now
  elseif held <= math.floor(share.tasks / 2) then
    if now - share.given < 1 then
      share.tasks = math.min(share.tasks * 2, 8192)
    elseif now - share.given > 4 then
      share.tasks = math.max(math.floor(share.tasks / 2), 4 * requests)
    end
    share.given = now
  end
  return share.tasks - held
end

local function most_of(worker, origin, kind)
  local queue, orphans = queue_of(origin, kind), orphans_of(origin, kind)
  if orphans_left <= 0 and redis.call('EXISTS', queue) == 0 then
    return 0  -- before it has a share of requests that it would not use
  end
  if kind == SOURCE or kind == PAGE then
    local head = redis.call('LINDEX', queue, 0) or redis.call('LINDEX', orphans, 0)
    if call.crowded[decimal(read_row(head).source)] then return 0 end
  end
  if kind == SOURCE then return 1 end
  local authority = authority_of(origin)
  local pace = pace_of(authority)
  if yields(pace, worker) then return 0 end
  local pages_wait = waits(origin, PAGE)
  local requests = allot(pace, worker, kind == PAGE or (kind == ROBOTS and call.feeds), pages_wait)
  if requests == 0 then return 0 end
  local held = tonumber(redis.call('HGET', BASE .. 'at:' .. worker, authority) or 0)
  if held == 0 then redis.call('HINCRBY', BASE .. 'at:' .. worker, authority, 0) end
  if kind == ROBOTS then return 1 end
  return math.max(0, room_at(pace, worker, held, requests))
end

local function is_alone(row)
  return lost_of(row) >= call.alone_after
end

-- Take up to `most` rows that no worker lost.
local function take_others(queue, most)
  local taken, size = {}, 0
  local rows = redis.call('LPOP', queue, math.min(most, 1000)) or {}
  for place, row in ipairs(rows) do
    if size > MOST_BYTES then
      for back = #rows, place, -1 do redis.call('LPUSH', queue, rows[back]) end
      break
    end
    taken[place] = row
    size = size + #row
  end
  return taken
end

-- Take up to `most` orphans, of which a worker holds few at a time.
local function take_orphans(orphans, most)
  local taken = {}
  most = math.min(most, orphans_left)
  for _, row in ipairs(most > 0 and redis.call('LRANGE', orphans, 0, most - 1) or {}) do
    if is_alone(row) then
      alone = 'waits'
      break
    end
    taken[#taken + 1] = row
  end
  if #taken > 0 then redis.call('LPOP', orphans, #taken) end
  orphans_left = orphans_left - #taken
  return taken
end

-- Take up to `most` rows of a lane; one that must be alone only as the first that a worker holds.
local function take(origin, kind, most)
  local queue, orphans = queue_of(origin, kind), orphans_of(origin, kind)
  local orphan = redis.call('LINDEX', orphans, 0)
  if orphan and is_alone(orphan) and holds == 0 then
    alone = 'holds'
    return redis.call('LPOP', orphans, 1)
  end
  local taken = take_others(queue, most)
  for _, row in ipairs(orphan and take_orphans(orphans, most - #taken) or {}) do taken[#taken + 1] = row end
  return taken
end

local function serve(worker, origin, kind, room)
  if not waits(origin, kind) then return {} end
  local lane = lane_of(origin)
  if kind ~= ROBOTS and (lane.closed or not knows_robots(lane, origin)) then
    enrol(origin, kind)
    return {}
  end
  local authority = authority_of(origin)
  if authority ~= '' and pace_of(authority).blocked > now then
    sleep(origin, kind, pace_of(authority).blocked)
    return {}
  end
  local most = math.min(room, most_of(worker, origin, kind))
  local taken = most > 0 and take(origin, kind, most) or {}
  if #taken > 0 then hold(worker, origin, taken) end
  holds = holds + #taken
  enrol(origin, kind, alone)
  return taken
end

-- Give `worker` tasks; returns those of each lane: its origin, the digest of its robots.txt, and the rows.
local function hand_out(worker)
  local given = {}
  for _, kind in ipairs({ROBOTS, SOURCE, PAGE, IMAGE}) do
    local room = call.room[kind + 1]
    local ready = BASE .. 'ready:' .. kind
    local turns = room > 0 and redis.call('ZRANGE', ready, 0, SCAN - 1) or {}
    for _, origin in ipairs(turns) do
      if room <= 0 or alone then break end
      redis.call('ZREM', ready, origin)
      local taken = serve(worker, origin, kind, room)
      room = room - #taken
      if #taken > 0 then given[#given + 1] = {origin, lane_of(origin).robots or '', taken} end
    end
  end
  return given
end

-- The grants of `worker` as they stand: authority, requests at a time, delay, wait.
local function grants_of(worker)
  local grants = {}
  local pages_wait = (numbers.added1 or 0) > (numbers.gone1 or 0)
  local at = redis.call('HGETALL', BASE .. 'at:' .. worker)
  for place = 1, #at, 2 do
    local authority, held = at[place], tonumber(at[place + 1])
    if authority ~= '' then
      local pace = pace_of(authority)
      if held > 0 then
        allot(pace, worker, call.feeds, pages_wait)
      end
      local share = pace.shares[worker]
      grants[#grants + 1] = {authority, share and share.count or 0, tostring(pace.delay),
        string.format('%.6f', share and math.max(0, pace.blocked - now) or 0)}
      if not share and held <= 0 then redis.call('HDEL', BASE .. 'at:' .. worker, authority) end
    end
  end
  return grants
end
