-- Does one ShardWrite whole, or refuses it whole. All keys share one hash tag.
--
-- The only write command is one MSET at the end: a script with two could be torn by an append-only
-- file that ends in the middle of its transaction, and the next restart would apply the half.
--
-- KEYS: the fence, n rows, d documents, c sets of what was watched with an item.
-- ARGV: head as msgpack {moves {source, epoch, before, after, stream_ms}, ledger {5}, n, groups of rows
--       {how many, number of the scope, width}, numbers of the guarded documents,
--       {c, bytes of a set's record, bytes of a full set, companions on a side}},
--       n rows of little-endian doubles {ref_ms, last_ms, slots}, the versions expected of the guarded
--       documents (8 bytes each, zeros: none may stand there), d documents, records told to each of
--       the c sets.
-- Returns 1, or 0 where a fence or a guarded document is not what the worker read.
-- The functions that add rows, one a scope, stand before this (see streams/store/merging.py).
local head = cmsgpack.unpack(ARGV[1])
local moves, ledger, n, groups, guards, sets = head[1], head[2], head[3], head[4], head[5], head[6]
local held = redis.call('MGET', unpack(KEYS))

local fence = {{}, {0, 0, 0, 0, 0}}
if held[1] then fence = cmsgpack.unpack(held[1]) end
local positions = fence[1]
for _, move in ipairs(moves) do
  local at, offset = positions[move[1]], -1
  if at and at[1] == move[2] then offset = at[2] end
  if offset ~= move[3] then return 0 end
  positions[move[1]] = {move[2], move[4], move[5]}
end
for i, guard in ipairs(guards) do
  local document = held[1 + n + guard]
  local version = string.rep('\0', 8)
  if document then version = string.sub(document, 1, 8) end
  if version ~= string.sub(ARGV[3], i * 8 - 7, i * 8) then return 0 end
end
for i = 1, #ledger do fence[2][i] = (fence[2][i] or 0) + ledger[i] end

local out = {KEYS[1], cmsgpack.pack(fence)}
local i, first, filled = 1, 1, 2
for _, group in ipairs(groups) do
  local merge, bytes = merges[group[2]], group[3] * 8
  for _ = 1, group[1] do
    local old, row = held[1 + i], nil
    if old then
      if #old ~= bytes then error('a state row of ' .. #old .. ' bytes, expected ' .. bytes) end
      row = merge(old, ARGV[2], first)
    else
      row = string.sub(ARGV[2], first, first + bytes - 1)
    end
    out[filled + 1], out[filled + 2] = KEYS[1 + i], row
    i, first, filled = i + 1, first + bytes, filled + 2
  end
end
local sets_from = #KEYS - sets[1]
for i = n + 2, sets_from do
  out[#out + 1] = KEYS[i]
  out[#out + 1] = ARGV[2 + i - n]
end

-- Sets of engagements, ascending; the newest stay (streams/facts/co_watch.py says what is merged and why).
-- A record: head {ts_ms 6 bytes, mark 2}, companions before and after, nearest first, each a slot {ts_ms 6,
-- mark 2, item 6}, zeros where there is none. An even mark is undone. Bytes are compared as numbers, since
-- Lua's own comparison of strings follows the server's locale.
local step, full, reach = sets[2], sets[3], sets[4]
local slot_bytes = 14
local side_bytes = reach * slot_bytes
local no_slot, no_side = string.rep('\0', slot_bytes), string.rep('\0', side_bytes)
local byte, sub, number = string.byte, string.sub, struct.unpack

local function nearest(a, b, later)
  if b == no_side or a == b then return a end
  if a == no_side then return b end
  local found = {}
  for _, side in ipairs({a, b}) do
    for at = 1, side_bytes, slot_bytes do
      local slot = sub(side, at, at + slot_bytes - 1)
      if slot ~= no_slot then
        local ts, mark, item = number('>I6I2I6', slot)
        local alive = mark % 2
        local same = nil
        for _, known in ipairs(found) do
          if known[1] == ts and known[2] == mark - alive and known[3] == item then same = known end
        end
        if not same then
          found[#found + 1] = {ts, mark - alive, item, slot}
        elseif alive == 0 then
          same[4] = slot
        end
      end
    end
  end
  table.sort(found, function(x, y)
    if not later then x, y = y, x end
    if x[1] ~= y[1] then return x[1] > y[1] end
    if x[2] ~= y[2] then return x[2] > y[2] end
    return x[3] > y[3]
  end)
  local side = ''
  for n = 1, reach do side = side .. (found[n] and found[n][4] or no_slot) end
  return side
end

local function both(a, b)
  local head, middle = sub(a, 1, 8), 8 + side_bytes
  if byte(b, 8) % 2 == 0 then head = sub(b, 1, 8) end
  return head .. nearest(sub(a, 9, middle), sub(b, 9, middle), true)
    .. nearest(sub(a, middle + 1), sub(b, middle + 1), false)
end

for c = 1, sets[1] do
  local key, told, whole = KEYS[sets_from + c], ARGV[2 + sets_from - n + c], held[sets_from + c] or ''
  for from = 1, #told, step do
    local record = sub(told, from, from + step - 1)
    local ts, mark = number('>I6I2', record)
    mark = mark - mark % 2
    local place = #whole  -- bytes that stay before it
    while place > 0 do
      local other_ts, other_mark = number('>I6I2', whole, place - step + 1)
      other_mark = other_mark - other_mark % 2
      if other_ts == ts and other_mark == mark then
        record = both(sub(whole, place - step + 1, place), record)
        whole = sub(whole, 1, place - step) .. record .. sub(whole, place + 1)
        record = nil
        break
      end
      if ts > other_ts or (ts == other_ts and mark > other_mark) then break end
      place = place - step
    end
    if record then whole = sub(whole, 1, place) .. record .. sub(whole, place + 1) end
  end
  out[#out + 1] = key
  out[#out + 1] = sub(whole, math.max(1, #whole - full + 1))
end
redis.call('MSET', unpack(out))
return 1
