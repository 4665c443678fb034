-- What becomes of what was found: new tasks wait, known ones are met again, mentions are kept.

local function insert(item, known, number)
  local source = item.kind == SOURCE and number or item.source
  local task = {number = number, source = source, kind = item.kind, attempts = 0, lost = 0, first = item.first,
    id = item.id, row = ''}
  rewritten(task, item.body)
  known.state, known.number = 'w', number
  push(item.origin, task)
  count_open(task, 1)
  enrol(item.origin, item.kind)
  return task
end

-- Settle an image at once that the page wants left alone.
local function opt_out(item, known)
  local task = {number = known.number, source = item.source, kind = item.kind, attempts = 0, lost = 0, first = 0,
    id = item.id, row = ''}
  rewritten(task, item.body)
  known.seq = add_result(BROKER, call.opted_out, task, item.opted_out, 0, '\192')
  known.state, known.run = 'o', numbers.run
  tally(IMAGE, item.source, item.origin, call.opted_out, 1, 0)
end

-- In a new run, pages and failures that are named again wait again, and what is there stays. An image that one page
-- wants left alone is taken where another names it freely.
local function meet_again(item, known)
  if known.state == 'w' then return false end
  if known.run == numbers.run then
    if known.state ~= 'o' or item.opted_out ~= '' then return false end
    tally(IMAGE, item.source, item.origin, call.opted_out, -1, 0)
  elseif item.kind == IMAGE and known.state == 's' then
    known.run = numbers.run
    advance('already_there', 1)
    return true
  end
  if item.opted_out ~= '' and item.kind == IMAGE then
    opt_out(item, known)
  else
    insert(item, known, advance_number())
  end
  return true
end

-- The first mention is in the task's row, the others by number of the task and digest.
local function mention(item, known)
  if item.digest == '' or item.digest == known.mention then return false end
  local added = redis.call('HSETNX', BASE .. 'mentions:' .. key_of(known.number), item.digest, item.words)
  if added == 1 and known.more == 0 then
    known.more = 1
    return true
  end
  return false
end

local function put()
  local new, numbered = 0, {}
  for _, item in ipairs(call.items) do
    local known = known_of(item.id)
    local changed = true
    if known then
      local moved_from = known.number
      changed = meet_again(item, known)
      if moved_from ~= known.number and known.more == 1 then
        redis.call('RENAME', BASE .. 'mentions:' .. key_of(moved_from), BASE .. 'mentions:' .. key_of(known.number))
      end
      changed = mention(item, known) or changed
    else
      new = new + 1
      known = {state = 'w', number = 0, mention = item.digest, run = 0, seq = 0, more = 0}
      if item.digest == '' then known.mention = string.rep('\0', 6) end
      known.number = advance_number()
      if item.opted_out ~= '' and item.kind == IMAGE then opt_out(item, known) else insert(item, known, known.number) end
    end
    if changed then write_known(item.id, known) end
    if item.kind == SOURCE then numbered[#numbered + 1] = key_of(known.number) end
  end
  return new, numbered
end

-- Say of each id whether it is unknown (u), waits or was named in this run (n), or was named in an earlier one (e).
local function look()
  local said = {}
  for place, id in ipairs(call.ids) do
    local known = known_of(id)
    said[place] = not known and 'u' or (known.state == 'w' or known.run == numbers.run) and 'n' or 'e'
  end
  return said
end
