-- What becomes of what was found: new tasks wait, known ones are met again, mentions are kept.

local ID, BODY, DIGEST, OPTED_OUT, FIRST = 1, 2, 3, 4, 5

local pushed = {}  -- rows that begin to wait, by kind and origin

local function insert(group, item, known)
  known.state, known.number, known.run = 'n', advance_number(), numbers.run % 65536
  local source = group.kind == SOURCE and known.number or group.source
  local row = struct.pack(HEADER, known.number, source, group.kind, 0, 0, item[FIRST], item[ID]) .. item[BODY]
  local of = pushed[group.kind .. group.origin]
  if not of then of = {group = group, rows = {}, source = source}; pushed[group.kind .. group.origin] = of end
  of.rows[#of.rows + 1] = row
  increment(BASE .. 'sources', decimal(source), group.kind == IMAGE and 1 or 0)
end

local function write_pushed()
  for _, of in pairs(pushed) do
    local kind, origin = of.group.kind, of.group.origin
    for first = 1, #of.rows, 1000 do
      redis.call('RPUSH', queue_of(origin, kind), unpack(of.rows, first, math.min(first + 999, #of.rows)))
    end
    advance('added' .. kind, #of.rows)
    if kind == PAGE then advance('new_pages', #of.rows) end
    enrol(origin, kind)
  end
end

-- Settle an image at once that the page wants left alone.
local function opt_out(group, item, known)
  known.state, known.number, known.run = 'o', advance_number(), numbers.run % 65536
  local row = struct.pack(HEADER, known.number, group.source, IMAGE, 0, 0, 0, item[ID]) .. item[BODY]
  add_result(BROKER, call.opted_out, IMAGE, keep(group.origin, row), item[OPTED_OUT], 0, '\192')
  tally(IMAGE, group.source, group.origin, call.opted_out, 1, 0)
end

-- In a new run, pages and failures that are named again wait again, and what is there stays. An image that one page
-- wants left alone is taken where another names it freely.
local function meet_again(group, item, known)
  if is_of_this_run(known) then
    if known.state ~= 'o' or item[OPTED_OUT] ~= '' then return false end
    tally(IMAGE, group.source, group.origin, call.opted_out, -1, 0)
  elseif group.kind == IMAGE and (known.state == 'n' or known.state == 'd') then
    known.run = numbers.run % 65536
    advance('already_there', 1)
    return true
  end
  if item[OPTED_OUT] ~= '' and group.kind == IMAGE then
    opt_out(group, item, known)
  else
    insert(group, item, known)
  end
  return true
end

-- The first mention is in the task's row, the others by number of the task and digest, as rows would have them.
local function mention(item, known)
  if item[DIGEST] == '' or item[DIGEST] == known.mention then return false end
  local key = BASE .. 'mentions:' .. key_of(known.number)
  local shown = redis.call('HLEN', key) < call.mentions_shown  -- of the others it is enough to know how many
  local added = redis.call('HSETNX', key, item[DIGEST], shown and item[BODY] or '')
  if added == 1 and known.more == 0 then
    known.more = 1
    return true
  end
  return false
end

-- The mentions of a task that waits again go with its new number.
local function take_mentions_along(known, number)
  if known.number ~= number and known.more == 1 then
    redis.call('RENAME', BASE .. 'mentions:' .. key_of(number), BASE .. 'mentions:' .. key_of(known.number))
  end
end

local function put_item(group, item)
  local known = known_of(item[ID])
  if known then
    local number = known.number
    local changed = meet_again(group, item, known)
    take_mentions_along(known, number)
    if mention(item, known) or changed then write_known(item[ID], known) end
    return known, 0
  end
  known = {mention = item[DIGEST] ~= '' and item[DIGEST] or string.rep('\0', 6), more = 0}
  if item[OPTED_OUT] ~= '' and group.kind == IMAGE then
    opt_out(group, item, known)
  else
    insert(group, item, known)
  end
  write_known(item[ID], known)
  return known, 1
end

local function put()
  local new, numbered = 0, {}
  for _, group in ipairs(call.groups) do
    for place, item in ipairs(group.items) do
      local known, added = put_item(group, item)
      new = new + added
      if group.kind == SOURCE then numbered[place] = decimal(known.number) end
    end
  end
  return new, numbered
end

-- Say of each id whether it is unknown (u), was named in this run (n), or in an earlier one (e).
local function look()
  local said = {}
  for place, id in ipairs(call.ids) do
    local known = known_of(id)
    said[place] = not known and 'u' or is_of_this_run(known) and 'n' or 'e'
  end
  return said
end
