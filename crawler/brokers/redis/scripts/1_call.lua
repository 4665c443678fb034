-- One call on one partition: what all parts of the script share. KEYS[1] begins every key of the partition, so that
-- all share its hash tag; ARGV[1] is the packed call. What is gathered here is written once, by `write_back`.

local call = cmsgpack.unpack(ARGV[1])
local BASE = KEYS[1]
local SOURCE, PAGE, IMAGE, ROBOTS = 0, 1, 2, 3
local HEADER = '>I6I6BBBBc16'
local HEADER_SIZE = 32
local BROKER = 'broker'

local now = call.now
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1e6
end

local numbers = {number = 0, seq = 0, turn = 0, run = 0, known = 0, buckets = 1}  -- the partition's counters
do
  local found = redis.call('HGETALL', BASE .. 'numbers')
  for at = 1, #found, 2 do numbers[found[at]] = tonumber(found[at + 1]) end
end
local changed_numbers = {}

local function advance(name, by)
  numbers[name] = (numbers[name] or 0) + by
  changed_numbers[name] = true
  return numbers[name]
end

local function advance_number()
  return call.partition * 2 ^ 40 + advance('number', 1)
end

local increments = {}  -- by key and field

local function increment(key, field, by)
  local of = increments[key]
  if not of then of = {}; increments[key] = of end
  of[field] = (of[field] or 0) + by
end

-- Rows: a task that waits or is held is its header, and a body that only clients read. `first` is odd for the
-- first page of a site, and 2 or more where a worker lost the task, so that it might be worked twice.

local function read_row(row)
  local number, source, kind, attempts, lost, first, id = struct.unpack(HEADER, row)
  return {number = number, source = source, kind = kind, attempts = attempts, lost = lost, first = first, id = id,
    row = row}
end

-- Parts of rows that are looked at without reading them whole.
local function lost_of(row)
  return string.byte(row, 15)
end

local function was_lost(row)
  return string.byte(row, 16) >= 2
end

local function rewritten(task, body)
  task.row = struct.pack(HEADER, task.number, task.source, task.kind, task.attempts, task.lost, task.first,
    task.id) .. (body or string.sub(task.row, HEADER_SIZE + 1))
  return task.row
end

-- A task lies under its number as its row begins with it.
local function key_of(number)
  return struct.pack('>I6', number)
end

local function decimal(number)
  return string.format('%.0f', number)
end

-- What lies under a number: a row, and the origin where it waits.
local function keep(origin, row)
  return struct.pack('>I2', #origin) .. origin .. row
end

local function kept_row(kept)
  return string.sub(kept, 3 + struct.unpack('>I2', kept))
end

local function split(kept)
  local size = struct.unpack('>I2', kept)
  return string.sub(kept, 3, 2 + size), string.sub(kept, 3 + size)
end

-- Tell whether a task was named in this partition; others came here by a redirect.
local function is_home(task)
  return task.kind ~= ROBOTS and math.floor(task.number / 2 ^ 40) == call.partition
end

-- Counters of open tasks, by kind; monotone, so that two equal looks at all partitions prove that nothing moved.

local function count_open(task, by)
  if task.kind == ROBOTS then return end
  if by > 0 then advance('added' .. task.kind, by) else advance('gone' .. task.kind, -by) end
  if task.kind == IMAGE then increment(BASE .. 'sources', task.source, by) end
end

local hosts = {}  -- by run and member, what is to be added

local function busiest(run, member, by)
  local key = BASE .. 'hosts:' .. run
  local of = hosts[key]
  if not of then of = {}; hosts[key] = of end
  of[member] = (of[member] or 0) + by
end

local function tally(kind, source, origin, outcome, by, size, run)
  run = run or numbers.run
  local key = BASE .. 'tally:' .. run
  increment(key, kind .. ':' .. source .. ':' .. outcome, by)
  if kind == IMAGE then
    if size ~= 0 then increment(key, 'bytes', size) end
    if origin ~= '' then busiest(run, outcome .. ' ' .. origin, by) end
  end
end

local function write_back()
  local words = {}
  for name in pairs(changed_numbers) do
    words[#words + 1] = name
    words[#words + 1] = string.format('%.0f', numbers[name])
  end
  if #words > 0 then redis.call('HSET', BASE .. 'numbers', unpack(words)) end
  for key, members in pairs(hosts) do
    for member, by in pairs(members) do redis.call('ZINCRBY', key, by, member) end
  end
  for key, fields in pairs(increments) do
    for field, by in pairs(fields) do
      if by ~= 0 then redis.call('HINCRBY', key, field, string.format('%.0f', by)) end
    end
  end
end
