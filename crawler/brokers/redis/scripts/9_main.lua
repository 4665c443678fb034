-- The calls. A call of an older run than the partition's changes nothing: its client has to look again.

local operations = {}

local function open_run()
  if call.run < numbers.run then return false end
  if call.run > numbers.run then
    -- What waits, as it may where something was put after the end, goes on in the new run.
    local closed = redis.call('SMEMBERS', BASE .. 'closed')
    for _, name in ipairs({'lanes', 'paces', 'closed', 'hosts:', 'tally:', 'first:'}) do
      redis.call('DEL', BASE .. name .. (string.sub(name, -1) == ':' and call.run - 2 or ''))
    end
    numbers.run, changed_numbers.run = call.run, true
    advance('already_there', -(numbers.already_there or 0))
    advance('new_pages', -(numbers.new_pages or 0))
    for _, origin in ipairs(closed) do
      enrol(origin, PAGE)
      enrol(origin, IMAGE)
    end
  end
  return true
end

local function sums()
  local open = {}
  for kind = SOURCE, IMAGE do
    open[#open + 1] = decimal(numbers['added' .. kind] or 0)
    open[#open + 1] = decimal(numbers['gone' .. kind] or 0)
  end
  return open
end

local function is_ready()
  local key = BASE .. 'ready:'
  return redis.call('EXISTS', key .. SOURCE, key .. PAGE, key .. IMAGE, key .. ROBOTS)
end

local function look_after()
  forgive_silence()
  expire()
  wake()
  settle_closed(1000)
end

local function away()
  local found = {}
  for place, kept in ipairs(redis.call('HVALS', BASE .. 'away')) do
    if place <= 1000 then found[place] = kept end
  end
  return found
end

function operations.put()
  local new, numbered = put()
  return {new, numbered}
end

function operations.look()
  return look()
end

function operations.known()
  local found = {}
  for place, id in ipairs(call.ids) do
    local known = known_of(id)
    found[place] = known and {decimal(known.number), known.more} or {}
  end
  return found
end

-- Forget results that are safe elsewhere.
function operations.trim()
  redis.call('XTRIM', BASE .. 'results', 'MINID', '=', string.format('%.0f', call.last + 1))
  if call.last > (numbers.trimmed or 0) then advance('trimmed', call.last - (numbers.trimmed or 0)) end
  return {}
end

function operations.exchange()
  look_after()
  local strange = {}
  for place, group in ipairs(call.stored) do strange[place] = settle_stored(call.worker, group) end
  for _, said in ipairs(call.settled) do verbs[said.verb](call.worker, said) end
  local given, grants = {}, {}
  if call.worker ~= '' then
    renew(call.worker)
    renew_shares(call.worker)
    if call.gives then given = hand_out(call.worker) end
    if closed_now then settle_closed(1000) end
    grants = grants_of(call.worker)
  end
  return {strange, given, grants, alone or '', next_time(), sums(), call.worker == '' and away() or {},
    is_ready()}
end

function operations.settle()
  local accepted = 0
  for _, said in ipairs(call.settled) do
    if verbs[said.verb](call.worker, said) then accepted = accepted + 1 end
  end
  return {accepted}
end

function operations.counts()
  look_after()
  local run = numbers.run
  local held, images_held = 0, 0
  for _, worker in ipairs(redis.call('ZRANGE', BASE .. 'workers', 0, -1)) do
    held = held + redis.call('HLEN', held_of(worker))
    for _, kept in ipairs(call.closely and redis.call('HVALS', held_of(worker)) or {}) do
      if read_row(kept_row(kept)).kind == IMAGE then images_held = images_held + 1 end
    end
  end
  return {sums(), redis.call('HGETALL', BASE .. 'tally:' .. run), redis.call('HGETALL', BASE .. 'first:' .. run),
    redis.call('ZREVRANGE', BASE .. 'hosts:' .. run, 0, 999, 'WITHSCORES'), held, images_held,
    decimal(numbers.already_there or 0)}
end

if not open_run() then return redis.error_reply('STALE the run of this partition is newer') end
local reply = operations[call.operation]()
write_pushed()
write_parcel()
write_lanes()
write_paces()
write_back()
return reply
