-- What is known of every task that was ever named, and the results, appended to a stream in the order in which they
-- come. A known task is: state, number, digest of its first mention, run, number of its result, whether it has more
-- mentions. States: w(aiting), s(uccess), f(ailed), o(pted out by a page).

local KNOWN = '>c1I6c6I4I6B'
local BUCKETS = 4096

local function bucket_of(id)
  local high, low = string.byte(id, 1, 2)
  return BASE .. 'known:' .. (high * 256 + low) % BUCKETS, string.sub(id, 3)
end

local function known_of(id)
  local bucket, field = bucket_of(id)
  local kept = redis.call('HGET', bucket, field)
  if not kept then return nil end
  local state, number, mention, run, seq, more = struct.unpack(KNOWN, kept)
  return {state = state, number = number, mention = mention, run = run, seq = seq, more = more}
end

local function write_known(id, known)
  local bucket, field = bucket_of(id)
  redis.call('HSET', bucket, field,
    struct.pack(KNOWN, known.state, known.number, known.mention, known.run, known.seq, known.more))
end

local parcel  -- results that are alike, not yet written: {first, head, items}

local function write_parcel()
  if parcel then
    redis.call('XADD', BASE .. 'results', string.format('%.0f-1', parcel.first), 'h', parcel.head,
      'b', table.concat(parcel.items))
    parcel = nil
  end
end

local function add_result(worker, outcome, task, message, size, body)
  local seq = advance('seq', 1)
  local head = cmsgpack.pack({numbers.run, now, worker, task.kind, outcome})
  if not parcel or parcel.head ~= head or #parcel.items >= 1000 then
    write_parcel()
    parcel = {first = seq, head = head, items = {}}
  end
  table.insert(parcel.items, struct.pack('>I6I4I4I4', size, #message, #body, #task.row) .. message .. body .. task.row)
  return seq
end

-- Give a task of this partition its terminal result; false where it has one already.
local function record(worker, task, origin, outcome, message, size, body)
  local known = known_of(task.id)
  if not known or known.state ~= 'w' or known.number ~= task.number then return false end
  known.seq = add_result(worker, outcome, task, message, size, body)
  known.run = numbers.run
  if call.successes[outcome] then known.state = 's'
  elseif outcome == call.opted_out and worker == BROKER then known.state = 'o'
  else known.state = 'f' end
  write_known(task.id, known)
  tally(task.kind, task.source, origin, outcome, 1, size)
  return true
end
