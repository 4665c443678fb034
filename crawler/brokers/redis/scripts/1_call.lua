#!lua
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

local numbers = {}  -- the partition's counters: number, seq, turn, run
for _, name in ipairs({'number', 'seq', 'turn', 'run'}) do numbers[name] = 0 end
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

-- Rows: a task that waits or is held is its header, and a body that only clients read. `first` is 1 for the first page
-- of a site.

local function read_row(row)
  local number, source, kind, attempts, lost, first, id = struct.unpack(HEADER, row)
  return {number = number, source = source, kind = kind, attempts = attempts, lost = lost, first = first, id = id,
    row = row}
end

local function rewritten(task, body)
  task.row = struct.pack(HEADER, task.number, task.source, task.kind, task.attempts, task.lost, task.first,
    task.id) .. (body or string.sub(task.row, HEADER_SIZE + 1))
  return task.row
end

local function key_of(number)
  return string.format('%.0f', number)
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

local function tally(kind, source, origin, outcome, by, size, run)
  run = run or numbers.run
  local key = BASE .. 'tally:' .. run
  increment(key, kind .. ':' .. source .. ':' .. outcome, by)
  if kind == IMAGE then
    if size ~= 0 then increment(key, 'bytes', size) end
    if origin ~= '' then
      redis.call('ZINCRBY', BASE .. 'hosts:' .. run, by, outcome .. ' ' .. origin)
    end
  end
end

local function write_back()
  for name in pairs(changed_numbers) do redis.call('HSET', BASE .. 'numbers', name, string.format('%.0f', numbers[name])) end
  for key, fields in pairs(increments) do
    for field, by in pairs(fields) do
      if by ~= 0 then redis.call('HINCRBY', key, field, string.format('%.0f', by)) end
    end
  end
end
