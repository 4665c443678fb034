-- How fast a host is asked: see crawler/brokers/pace.py, whose arithmetic this keeps. `shares` are by worker;
-- `waiting` are workers that were refused, in that order, each {name, since}.

local FIRST_PAUSE, MAX_PAUSE, MAX_SILENT_PAUSE = 1, 300, 4
local SLOW_FACTOR, SLOW_SECONDS, DOWN_AFTER, SILENT = 5, 1, 20, 2
local paces = {}

local function pace_of(authority)
  local pace = paces[authority]
  if not pace then
    local kept = redis.call('HGET', BASE .. 'paces', authority)
    if kept then
      pace = cmsgpack.unpack(kept)
    else
      pace = {limit = call.most, delay = 0, blocked = 0, pause = FIRST_PAUSE, failures = 0, best = 0, best_of_pages = 0,
        shares = {}, waiting = {}}
    end
    pace.delay = math.max(pace.delay, call.delay)
    paces[authority] = pace
  end
  return pace
end

local function write_paces()
  for authority, pace in pairs(paces) do redis.call('HSET', BASE .. 'paces', authority, cmsgpack.pack(pace)) end
end

local function place_of(pace, worker)
  for place, waiter in ipairs(pace.waiting) do
    if waiter[1] == worker then return place end
  end
end

local function wait_for(pace, worker)
  local place = place_of(pace, worker)
  if place then pace.waiting[place][2] = now else table.insert(pace.waiting, {worker, now}) end
end

local function forget_old_waiters(pace)
  for place = #pace.waiting, 1, -1 do
    if now - pace.waiting[place][2] > 2 then table.remove(pace.waiting, place) end
  end
end

-- Let others have what `worker` had; it may have asked until now.
local function leave(pace, worker)
  if pace.shares[worker] and pace.delay > 0 then pace.blocked = math.max(pace.blocked, now + pace.delay) end
  pace.shares[worker] = nil
  local place = place_of(pace, worker)
  if place then table.remove(pace.waiting, place) end
end

local function confirm(pace, worker, busy, heard, holds)
  local share = pace.shares[worker]
  if not share then return end
  share.ceiling = heard and math.max(busy, share.count) or math.max(share.ceiling, share.count, busy)
  if not holds and heard and busy == 0 then
    pace.shares[worker] = nil
    if pace.delay > 0 then pace.blocked = math.max(pace.blocked, now + pace.delay) end
  end
end

local function fair_part(pace, worker, pages, pages_wait, limit, used_by_pages)
  local most_pages = math.min(call.most_pages, call.most)
  local alike = 1
  for other, share in pairs(pace.shares) do
    if other ~= worker and share.pages == pages then alike = alike + 1 end
  end
  for _, waiter in ipairs(pace.waiting) do
    if waiter[1] ~= worker and not pace.shares[waiter[1]] then alike = alike + 1 end
  end
  if pages then
    if used_by_pages >= most_pages then return 0 end
    return math.max(1, math.floor(math.min(most_pages, limit) / alike))
  end
  local reserved = (pages_wait or used_by_pages > 0) and math.min(most_pages, limit - 1) or 0
  return math.max(1, math.floor((limit - reserved) / alike))
end

-- Return how many requests at a time `worker` may have from now on; 0 for none.
local function allot(pace, worker, pages, pages_wait)
  local limit = pace.delay > 0 and 1 or math.max(1, math.floor(math.min(pace.limit, call.most)))
  forget_old_waiters(pace)
  local free, used_by_pages = limit, 0
  for other, share in pairs(pace.shares) do
    if other ~= worker then
      free = free - share.ceiling
      if share.pages then used_by_pages = used_by_pages + share.ceiling end
    end
  end
  local share = pace.shares[worker]
  local target = math.min(free, fair_part(pace, worker, pages, pages_wait, limit, used_by_pages))
  if share and share.count > 0 then target = math.max(target, math.min(1, free)) end
  if target <= 0 then
    wait_for(pace, worker)
    return 0
  end
  local place = place_of(pace, worker)
  if place then table.remove(pace.waiting, place) end
  if share then
    share.ceiling = math.max(share.ceiling, target)
    share.count = target
  else
    pace.shares[worker] = {count = target, ceiling = target, pages = pages}
  end
  return target
end

-- Tell whether `worker` must let another go first at a host that takes one request at a time.
local function yields(pace, worker)
  if pace.delay == 0 and pace.limit >= 2 then return false end
  forget_old_waiters(pace)
  local first = pace.waiting[1]
  if not first or first[1] == worker then return false end
  if not pace.shares[worker] then wait_for(pace, worker) end
  return true
end

local function answered(pace, latency, pages)
  local of = pages and 'best_of_pages' or 'best'
  local best = math.min(pace[of] > 0 and pace[of] or latency, latency)
  pace[of], pace.met = best, true
  if latency > best * SLOW_FACTOR and latency - best > SLOW_SECONDS then
    pace.limit = math.max(1, pace.limit * 0.75)
  else
    pace.limit = math.min(call.most, pace.limit + 1)
  end
end

local function succeeded(pace)
  pace.failures, pace.pause, pace.met = 0, FIRST_PAUSE, true
end

-- `why` tells what a failure is: {connects = no connection came about, silent = nobody answered at all, pauses,
-- complains = the host said so}.
local function failed(pace, why, retry_after)
  pace.failures = why.connects and pace.failures + (why.silent and not pace.met and SILENT or 1) or 0
  if not why.pauses then return end
  if now >= pace.blocked then
    pace.limit = math.max(1, pace.limit / 2)
    pace.blocked = now + pace.pause
    pace.pause = math.min(pace.pause * 2, why.complains and MAX_PAUSE or MAX_SILENT_PAUSE)
  end
  pace.blocked = math.max(pace.blocked, now + retry_after)
end
