-- What a settlement does: to the task, to its host's pace, to the results. A client has decided what is tried again.

-- What an answer, or none, teaches of a host: {ok, outcome, why, retry_after}.
local function learn(origin, lesson)
  local authority = authority_of(origin)
  if not lesson or authority == '' then return end
  local pace = pace_of(authority)
  if lesson.ok then
    succeeded(pace)
    return
  end
  failed(pace, lesson.why, lesson.retry_after)
  if pace.failures >= DOWN_AFTER then
    close(origin, call.host_down, 'its connections failed one after another; last: ' .. lesson.outcome)
  end
end

-- Settle images that a worker stored, all of one lane and source; returns the places of those that it does not hold.
local function settle_stored(worker, group)
  local strange, gone, counted, size = {}, {}, 0, 0
  local held, keys = held_of(worker), {}
  for at = 1, #group.keys, 6 do keys[#keys + 1] = string.sub(group.keys, at, at + 5) end
  for first = 1, #keys, 1000 do
    local rows = redis.call('HMGET', held, unpack(keys, first, math.min(first + 999, #keys)))
    for offset, kept in ipairs(rows) do
      local place = first + offset - 1
      if kept and not gone[keys[place]] then
        gone[keys[place]] = true
        gone[#gone + 1] = keys[place]
        if was_lost(kept_row(kept)) then
          redis.call('HDEL', BASE .. 'visitors', keys[place])
          record(worker, read_row(kept_row(kept)), group.origin, call.success, '', group.sizes[place],
            group.bodies[place])
        else
          add_result(worker, call.success, IMAGE, kept, '', group.sizes[place], group.bodies[place])
          counted, size = counted + 1, size + group.sizes[place]
        end
      else
        strange[#strange + 1] = place - 1
      end
    end
  end
  for first = 1, #gone, 1000 do redis.call('HDEL', held, unpack(gone, first, math.min(first + 999, #gone))) end
  if #gone > 0 then
    tally(IMAGE, group.source, group.origin, call.success, counted, size)
    count_open({kind = IMAGE, source = group.source}, -#gone)
    redis.call('HINCRBY', BASE .. 'at:' .. worker, authority_of(group.origin), -#gone)
    learn(group.origin, {ok = true})
  end
  return strange
end

local verbs = {}

-- A task is here no longer.
local function gone(task)
  count_open(task, -1)
  if task.first >= 2 or not is_home(task) then redis.call('HDEL', BASE .. 'visitors', key_of(task.number)) end
end

-- A task ends. Only its holder may say that it failed; what was named elsewhere has been recorded there.
function verbs.done(worker, said)
  local task, origin = release(worker, said.number)
  if not task then
    if not call.successes[said.outcome] then return end
    task, origin = take_out(said.number, said.origin, said.kind)
    if not task then return end
  end
  learn(origin, said.lesson)
  if is_home(task) then
    record(worker, task, origin, said.outcome, said.message, said.size, said.body)
  elseif not call.successes[said.outcome] then
    end_away(task, origin, said.outcome, said.message, said.body)
  end
  if said.first then note_first(said.first, task.source, said.outcome, said.message) end
  if redis.call('HEXISTS', BASE .. 'away', key_of(task.number)) == 0 then gone(task) end
end

-- What ended here, and was named elsewhere, has been recorded there.
function verbs.forget(_, said)
  if redis.call('HDEL', BASE .. 'away', key_of(said.number)) == 1 then gone(read_row(said.row)) end
end

-- The result of a task that was named here and is held elsewhere.
function verbs.record(worker, said)
  local task = read_row(said.row)
  record(worker, task, said.origin, said.outcome, said.message, said.size, said.body, true)
end

function verbs.delay(worker, said)
  local task, origin = release(worker, said.number)
  if not task then return end
  learn(origin, said.lesson)
  task.attempts = said.attempts
  rewritten(task)
  delay(origin, task, now + said.after)
end

function verbs.back(worker, said)
  local task, origin = release(worker, said.number)
  if not task then return end
  if said.body then
    task.lost = 0  -- the stretches before this one are safe
    rewritten(task, said.body)
  end
  push(origin, task, true)
  enrol(origin, task.kind)
end

-- A task goes on at another origin of this partition.
function verbs.move(worker, said)
  local task, origin = release(worker, said.number)
  if not task then return end
  learn(origin, {ok = true})
  rewritten(task, said.body)
  push(said.to, task, true)
  enrol(said.to, task.kind)
end

-- It has gone on in another partition, where it arrived before, or it is a robots.txt that was told of.
function verbs.depart(worker, said)
  local task, origin = release(worker, said.number)
  if not task then return end
  learn(origin, said.lesson)
  gone(task)
end

-- A task comes from another partition; it may be told twice where an answer was lost.
function verbs.arrive(_, said)
  local task = read_row(said.row)
  if redis.call('HSETNX', BASE .. 'visitors', key_of(task.number), '') == 0 then return end
  task.first = task.first % 2 + 2  -- it may be told again when it is done
  rewritten(task)
  count_open(task, 1)
  push(said.origin, task, true)
  enrol(said.origin, task.kind)
end

-- An origin's robots.txt is known: its tasks may go.
function verbs.robots(_, said)
  local lane = lane_of(said.origin)
  lane.robots, lane.robots_time, lane.asked = said.digest, now, false
  changed_lanes[said.origin] = true
  pace_of(authority_of(said.origin)).delay = math.max(call.delay, said.crawl_delay)
  enrol(said.origin, PAGE)
  enrol(said.origin, IMAGE)
end

-- It is asked again, from the beginning of its redirects.
function verbs.robots_again(_, said)
  local lane = lane_of(said.origin)
  if lane.closed then return end
  lane.asked = false
  want_robots(said.origin, lane, said.attempts, now + said.after)
end

function verbs.close(_, said)
  close(said.origin, said.outcome, said.why)
end

function verbs.left_out(_, said)
  tally(PAGE, said.source, '', 'left_out:' .. said.reason, said.times, 0)
end

-- Make an image a task again whose result nothing has replaced.
function verbs.reopen(_, said)
  local known = known_of(said.id)
  if not known or known.number ~= said.number then return false end
  tally(IMAGE, said.source, said.at, said.outcome, -1, -said.size, said.run)
  local number = known.number
  open_again(said.origin)
  insert(said, {said.id, said.body, '', '', 0}, known)
  take_mentions_along(known, number)
  write_known(said.id, known)
  return true
end

-- Settle some of the tasks whose hosts are closed.
local function settle_closed(most)
  for _, origin in ipairs(redis.call('SMEMBERS', BASE .. 'closed')) do
    local lane = lane_of(origin)
    for kind = PAGE, IMAGE do
      for _, queue in ipairs({queue_of(origin, kind), orphans_of(origin, kind)}) do
        for _, row in ipairs(most > 0 and redis.call('LPOP', queue, most) or {}) do
          most = most - 1
          finish_here(read_row(row), origin, lane.closed, lane.why)
        end
      end
    end
    if most <= 0 then return end
    redis.call('SREM', BASE .. 'closed', origin)
  end
end
