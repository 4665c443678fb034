-- Who holds which task: `held:WORKER` has rows with their origins by number, `at:WORKER` how many by authority.

local function held_of(worker)
  return BASE .. 'held:' .. worker
end

local function hold(worker, origin, rows)
  local key, entries = held_of(worker), {}
  for _, row in ipairs(rows) do
    entries[#entries + 1] = string.sub(row, 1, 6)
    entries[#entries + 1] = keep(origin, row)
    if #entries == 1000 then
      redis.call('HSET', key, unpack(entries))
      entries = {}
    end
  end
  if #entries > 0 then redis.call('HSET', key, unpack(entries)) end
  redis.call('HINCRBY', BASE .. 'at:' .. worker, authority_of(origin), #rows)
end

-- Take a task back from whoever holds it; nil where nobody does.
local function release(worker, number)
  local kept = redis.call('HGET', held_of(worker), key_of(number))
  if not kept then return nil end
  redis.call('HDEL', held_of(worker), key_of(number))
  local origin, row = split(kept)
  redis.call('HINCRBY', BASE .. 'at:' .. worker, authority_of(origin), -1)
  return read_row(row), origin
end

local MOST_SCANNED = 5000  -- rows of a queue that are looked at for one that was lost: these lie at its end

-- Take out a task that waits; nil where it is not near the end of its queue, so that it is worked once more.
local function take_waiting(number, origin, kind)
  local kept = redis.call('HGET', BASE .. 'delayed', key_of(number))
  if kept then
    redis.call('HDEL', BASE .. 'delayed', key_of(number))
    redis.call('ZREM', BASE .. 'times', 'd' .. key_of(number))
    local at, row = split(kept)
    return read_row(row), at
  end
  for _, queue in ipairs({orphans_of(origin, kind), queue_of(origin, kind)}) do
    local length = redis.call('LLEN', queue)
    for last = length, math.max(1, length - MOST_SCANNED + 1), -1000 do
      for _, row in ipairs(redis.call('LRANGE', queue, math.max(last - 1000, 0), last - 1)) do
        local task = read_row(row)
        if task.number == number then
          redis.call('LREM', queue, -1, row)
          return task, origin
        end
      end
    end
  end
  return nil
end

-- Take out a task that is not done, whoever holds it or wherever it waits.
local function take_out(number, origin, kind)
  for _, worker in ipairs(redis.call('ZRANGE', BASE .. 'workers', 0, -1)) do
    local task, at = release(worker, number)
    if task then return task, at end
  end
  return take_waiting(number, origin, kind)
end

local function forget_worker(worker)
  for _, authority in ipairs(redis.call('HKEYS', BASE .. 'at:' .. worker)) do
    if authority ~= '' then leave(pace_of(authority), worker) end
  end
  redis.call('DEL', held_of(worker), BASE .. 'at:' .. worker, BASE .. 'unnamed:' .. worker)
  redis.call('ZREM', BASE .. 'workers', worker)
end

-- What became of a site's first page; of what a page and its source say, the page's word counts.
local function note_first(is_page, source, outcome, message)
  redis.call(is_page == 1 and 'HSET' or 'HSETNX', BASE .. 'first:' .. numbers.run, decimal(source),
    is_page .. '\0' .. outcome .. '\0' .. message)
end

-- A task that ended here and was named elsewhere is settled there by a client: it lies in `away` until then.
local function end_away(task, origin, outcome, message, body)
  redis.call('HSET', BASE .. 'away', key_of(task.number),
    struct.pack('>I4I4I4I4', #origin, #outcome, #message, #body) .. origin .. outcome .. message .. body .. task.row)
end

local function finish_here(task, origin, outcome, why)
  if is_home(task) then
    record(BROKER, task, origin, outcome, why, 0, '\192')
    if task.first % 2 == 1 or task.kind == SOURCE then
      note_first(task.first % 2, task.source, outcome, why)
    end
    count_open(task, -1)
  else
    end_away(task, origin, outcome, why, '\192')
  end
end

local function give_back(task, origin, times)
  if task.kind ~= ROBOTS then task.lost = task.lost + times end
  if task.lost >= call.deadly_after then
    finish_here(task, origin, call.worker_died, call.deadly)
    return
  end
  task.first = task.first % 2 + 2
  rewritten(task)
  push(origin, task)
  enrol(origin, task.kind)
end

-- Where nobody at all came for long, the server was gone, and its workers could not report: their leases begin anew.
local function forgive_silence()
  local silent = now - (numbers.watched or now * 1000) / 1000
  if silent > call.silence then
    for _, worker in ipairs(redis.call('ZRANGE', BASE .. 'workers', 0, -1)) do
      redis.call('ZADD', BASE .. 'workers', string.format('%.6f', now), worker)
    end
  end
  if not numbers.watched or silent > call.silence / 4 then
    numbers.watched, changed_numbers.watched = now * 1000, true
  end
end

-- Let go of what silent workers hold; of what a worker never named it may not even have heard.
local function expire()
  local silent = redis.call('ZRANGEBYSCORE', BASE .. 'workers', '-inf', '(' .. string.format('%.6f', now - call.lease))
  for _, worker in ipairs(silent) do
    local held = redis.call('HGETALL', held_of(worker))
    for at = 2, #held, 2 do
      local origin, row = split(held[at])
      give_back(read_row(row), origin, 1 - redis.call('HEXISTS', BASE .. 'unnamed:' .. worker, held[at - 1]))
    end
    forget_worker(worker)
  end
end

-- Let go of what a worker holds and has not named for longer than a lease; `since` is when it last named anything.
local function take_back_unnamed(worker, since)
  local unnamed = BASE .. 'unnamed:' .. worker
  local named = {}
  for at = 1, #call.held, 6 do named[string.sub(call.held, at, at + 5)] = true end
  for _, number in ipairs(redis.call('HKEYS', held_of(worker))) do
    if named[number] then
      redis.call('HDEL', unnamed, number)
    else
      redis.call('HSETNX', unnamed, number, since)
      if now - tonumber(redis.call('HGET', unnamed, number)) > call.lease then
        redis.call('HDEL', unnamed, number)
        local task, origin = release(worker, struct.unpack('>I6', number))
        give_back(task, origin, 0)
      end
    end
  end
end

-- Give a worker back what it names and nobody else has: it was silent for too long.
local function give_again(worker)
  for place, claim in ipairs(call.claims) do
    local number, origin, kind = claim[1], claim[2], claim[3]
    if place > 100 then break end  -- what is left is worked once more
    if redis.call('HEXISTS', held_of(worker), key_of(number)) == 0 then
      local task, at = take_waiting(number, origin, kind)
      if task then hold(worker, at, {task.row}) end
    end
  end
end

local function renew(worker)
  local before = redis.call('ZSCORE', BASE .. 'workers', worker)
  redis.call('ZADD', BASE .. 'workers', string.format('%.6f', now), worker)
  if before and redis.call('HLEN', held_of(worker)) > #call.held / 6 then
    take_back_unnamed(worker, before)
  elseif before then
    redis.call('DEL', BASE .. 'unnamed:' .. worker)
  end
  if not before then give_again(worker) end
end

-- Take what a worker says of its use of hosts; `fresh` means that we may not know what it is using.
local function renew_shares(worker)
  local at = redis.call('HGETALL', BASE .. 'at:' .. worker)
  for place = 1, #at, 2 do
    local authority, holds = at[place], tonumber(at[place + 1]) > 0
    if authority ~= '' then
      local pace = pace_of(authority)
      confirm(pace, worker, call.busy[authority] or 0, call.heard, holds)
      if not pace.shares[worker] and not holds then redis.call('HDEL', BASE .. 'at:' .. worker, authority) end
    end
  end
  for authority, latency in pairs(call.latency) do answered(pace_of(authority), latency, call.feeds) end
end
