-- Let triggers fire: put the jobs of events and move each trigger on behind them. All or nothing, and for each trigger
-- only if it and its place are still as the caller read them: so one event starts one job, whoever calls, and however
-- often.
-- Touches for each trigger rq:dataflow:trigger:OWNER:NAME, rq:dataflow:event-cursors:OWNER:STREAM; for each job what
-- put_job touches; for what cannot become one rq:dataflow:events-dead:OWNER.
-- ARGV: owner, text of now, most dead letters; for each trigger: name, revision, stream, its place there as read, its
--   next place, count of events; for each event: id and 'job' and what put_job takes, or id and 'dead', text, reason
-- Returns for each: {1 done or 0 changed meanwhile, status of each job or 'dead'…}.

local owner, at, most = ARGV[1], ARGV[2], ARGV[3]
local reports = {}
local i = 4

local function after_job(i)
  local parents = tonumber(ARGV[i + 9])
  return i + 11 + parents + tonumber(ARGV[i + 10 + parents])
end

while i <= #ARGV do
  local name, revision, stream, place, next_place, events = unpack(ARGV, i, i + 5)
  i = i + 6
  local trigger, reader = P .. ':dataflow:trigger:' .. owner .. ':' .. name, 'trigger:' .. name
  local cursors = P .. ':dataflow:event-cursors:' .. owner .. ':' .. stream
  local current = call('HGET', trigger, 'revision') == revision and call('HGET', cursors, reader) == place
  local report = { current and 1 or 0 }
  local fired, dead, last_job, last_event = 0, 0, nil, nil
  for _ = 1, tonumber(events) do
    local id, what = ARGV[i], ARGV[i + 1]
    if what == 'dead' then
      if current then
        call('XADD', P .. ':dataflow:events-dead:' .. owner, 'MAXLEN', '~', most, '*', 'stream', stream, 'id', id,
          'event', ARGV[i + 2], 'reader', reader, 'reason', ARGV[i + 3], 'deliveries', 1, 'at', string.format('%.0f', now() * 1000))
        dead = dead + 1
        report[#report + 1] = 'dead'
      end
      i = i + 4
    else
      if current then
        fired, last_job, last_event = fired + 1, ARGV[i + 2], id
        report[#report + 1] = put_job(i + 2, at)
      end
      i = after_job(i + 2)
    end
  end
  if current then
    call('HSET', cursors, reader, next_place)
    if dead > 0 then call('HINCRBY', trigger, 'dead', dead) end
    if fired > 0 then
      call('HINCRBY', trigger, 'fired', fired)
      call('HSET', trigger, 'last_job', last_job, 'last_event', last_event, 'last_fired', as_text(now()))
    end
  end
  reports[#reports + 1] = report
end
return reports
