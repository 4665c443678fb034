-- What is known of every task that was ever named, and the results, appended to a stream in the order in which they
-- come. A known task is: its state, whether it has more mentions than one, its number, the digest of its first mention,
-- and the run that named it last. It gets another number whenever it begins to wait; a result with its number is its
-- current one. States: n (it waits, or it waited in an earlier run and succeeded), d (it succeeded, and might be worked
-- twice), f (it failed), o (a page wants it left alone).

local KNOWN = '>BI5c6I2'
local STATES = {n = 0, d = 1, f = 2, o = 3}
local NAMES = {[0] = 'n', 'd', 'f', 'o'}
local LOCAL = 2 ^ 40

-- Known tasks lie in buckets small enough to be kept as one packed block; where there are too many for that, one more
-- bucket is split off another (linear hashing).
local MOST_IN_BUCKET = 64

local power = 1  -- the greatest power of two that is not more than the number of buckets
while power * 2 <= numbers.buckets do power = power * 2 end

local function bucket_at(place)
  return BASE .. 'known:' .. place
end

local function hash_of(id)
  return struct.unpack('>I4', id)
end

local function bucket_of(id)
  local hash = hash_of(id)
  local place = hash % (power * 2)
  return bucket_at(place < numbers.buckets and place or hash % power)
end

local function split_bucket()
  local new = numbers.buckets
  local from, moved, gone = bucket_at(new - power), {}, {}
  local entries = redis.call('HGETALL', from)
  for at = 1, #entries, 2 do
    if hash_of(entries[at]) % (power * 2) == new then
      gone[#gone + 1] = entries[at]
      moved[#moved + 1] = entries[at]
      moved[#moved + 1] = entries[at + 1]
    end
  end
  if #gone > 0 then
    redis.call('HSET', bucket_at(new), unpack(moved))
    redis.call('HDEL', from, unpack(gone))
  end
  if advance('buckets', 1) == power * 2 then power = power * 2 end
end

local function known_of(id)
  local kept = redis.call('HGET', bucket_of(id), id)
  if not kept then return nil end
  local state, number, mention, run = struct.unpack(KNOWN, kept)
  return {state = NAMES[state % 4], number = number + call.partition * LOCAL, mention = mention, run = run,
    more = state >= 4 and 1 or 0}
end

local function write_known(id, known)
  local kept = struct.pack(KNOWN, STATES[known.state] + 4 * known.more, known.number % LOCAL, known.mention,
    known.run % 65536)
  if redis.call('HSET', bucket_of(id), id, kept) == 1 and advance('known', 1) > MOST_IN_BUCKET * numbers.buckets then
    split_bucket()
  end
end

local function is_of_this_run(known)
  return known.run == numbers.run % 65536
end

local parcel  -- results that are alike, not yet written: {first, head, items}

local function write_parcel()
  if parcel then
    redis.call('XADD', BASE .. 'results', string.format('%.0f-1', parcel.first), 'h', parcel.head,
      'n', #parcel.items / 4, 'b', table.concat(parcel.items))
    parcel = nil
  end
end

-- `kept` is the task's row with its origin.
local function add_result(worker, outcome, kind, kept, message, size, body)
  local seq = advance('seq', 1)
  if not parcel or parcel.outcome ~= outcome or parcel.kind ~= kind or parcel.worker ~= worker
    or #parcel.items >= 4000 then
    write_parcel()
    local head = cmsgpack.pack({numbers.run, now, worker, kind, outcome})
    parcel = {first = seq, outcome = outcome, kind = kind, worker = worker, head = head, items = {}}
  end
  local items = parcel.items
  local at = #items
  items[at + 1] = struct.pack('>I6I4I4I4', size, #message, #body, #kept)
  items[at + 2], items[at + 3], items[at + 4] = message, body, kept
end

-- Give a task its terminal result; false where it has one already. What failed is marked, and what might be worked
-- twice: it was lost by a worker, or it goes on in another partition.
local function record(worker, task, origin, outcome, message, size, body, elsewhere)
  local succeeded = call.successes[outcome]
  if not succeeded or task.first >= 2 or elsewhere then
    local known = known_of(task.id)
    if not known or known.state ~= 'n' or known.number ~= task.number then return false end
    known.state = succeeded and 'd' or 'f'
    write_known(task.id, known)
  end
  add_result(worker, outcome, task.kind, keep(origin, task.row), message, size, body)
  tally(task.kind, task.source, origin, outcome, 1, size)
  return true
end
