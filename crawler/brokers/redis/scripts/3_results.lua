-- What is known of every task that was ever named, and the results, appended to a stream in the order in which they
-- come. A known task is: state, number, digest of its first mention, run, number of its result, whether it has more
-- mentions. States: w(aiting), s(uccess), f(ailed), o(pted out by a page).

local KNOWN = '>BI5c6I2I5'
local STATES = {w = 0, s = 1, f = 2, o = 3}
local NAMES = {[0] = 'w', 's', 'f', 'o'}
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

local function unpack_known(kept)
  local state, number, mention, run, seq = struct.unpack(KNOWN, kept)
  return {state = NAMES[state % 4], number = number + call.partition * LOCAL, mention = mention, run = run, seq = seq,
    more = state >= 4 and 1 or 0}
end

local function known_of(id)
  local kept = redis.call('HGET', bucket_of(id), id)
  return kept and unpack_known(kept)
end

local function write_known(id, known)
  local kept = struct.pack(KNOWN, STATES[known.state] + 4 * known.more, known.number % LOCAL, known.mention,
    known.run % 65536, known.seq)
  if redis.call('HSET', bucket_of(id), id, kept) == 1 and advance('known', 1) > MOST_IN_BUCKET * numbers.buckets then
    split_bucket()
  end
end

local parcel  -- results that are alike, not yet written: {first, head, items}

local function write_parcel()
  if parcel then
    redis.call('XADD', BASE .. 'results', string.format('%.0f-1', parcel.first), 'h', parcel.head,
      'b', table.concat(parcel.items))
    parcel = nil
  end
end

local function add_result(worker, outcome, kind, row, message, size, body)
  local seq = advance('seq', 1)
  local name = kind .. outcome .. worker
  if not parcel or parcel.name ~= name or #parcel.items >= 1000 then
    write_parcel()
    local head = cmsgpack.pack({numbers.run, now, worker, kind, outcome})
    parcel = {first = seq, name = name, head = head, items = {}}
  end
  parcel.items[#parcel.items + 1] = struct.pack('>I6I4I4I4', size, #message, #body, #row) .. message .. body .. row
  return seq
end

-- Give a task of this partition its terminal result; false where it has one already.
local function settle_known(worker, outcome, kind, row, message, size, body)
  local id = id_of(row)
  local known = known_of(id)
  if not known or known.state ~= 'w' or key_of(known.number) ~= string.sub(row, 1, 6) then return false end
  known.seq = add_result(worker, outcome, kind, row, message, size, body)
  known.run = numbers.run
  if call.successes[outcome] then known.state = 's'
  elseif outcome == call.opted_out and worker == BROKER then known.state = 'o'
  else known.state = 'f' end
  write_known(id, known)
  return true
end

local function record(worker, task, origin, outcome, message, size, body)
  if settle_known(worker, outcome, task.kind, task.row, message, size, body) then
    tally(task.kind, task.source, origin, outcome, 1, size)
  end
end
