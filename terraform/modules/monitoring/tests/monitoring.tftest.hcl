provider "aws" {
  region = "eu-central-1"
}

variables {
  name                      = "events"
  bucket                    = "log"
  tables                    = { control = "log-events-control", offsets = "log-events-offsets" }
  functions                 = { api = "events-api", retention = "events-retention", collector = "events-collector", sweep = "events-sweep" }
  scheduled_functions       = ["retention", "collector", "sweep"]
  dead_letter_queue         = "events-functions-failed"
  balancer_arn_suffix       = "net/events/1"
  target_group_arn_suffixes = { 1 = "targetgroup/events-1/1", 2 = "targetgroup/events-2/2" }
  autoscaling_groups        = { 1 = "events-broker-1", 2 = "events-broker-2" }
  emails                    = ["operator@example.com"]
}

run "all" {
  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.rounds) == ["collector", "retention", "sweep"] && alltrue([for a in aws_cloudwatch_metric_alarm.rounds : a.treat_missing_data == "breaching" && a.period <= 86400])
    error_message = "A round that does not come is an alarm, and nothing else is."
  }
  assert {
    condition     = aws_cloudwatch_log_metric_filter.rounds["retention"].log_group_name == "/aws/lambda/events-retention" && aws_cloudwatch_metric_alarm.rounds["retention"].metric_name == "retention-rounds"
    error_message = "The alarm and the filter are about different metrics."
  }
  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.table_throttled)) == toset(["control-read", "control-write", "offsets-read", "offsets-write"])
    error_message = "A table is not watched."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.unreleased["sweep"].dimensions == tomap({ Cluster = "log-events", Function = "sweep" }) && aws_cloudwatch_metric_alarm.api_failed["api"].dimensions == tomap({ Cluster = "log-events", Function = "api" })
    error_message = "What functions of this cluster measure themselves is not watched."
  }
  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.broker_down) == ["1", "2"] && keys(aws_cloudwatch_metric_alarm.broker_busy) == ["1", "2"]
    error_message = "A broker is not watched."
  }
  assert {
    condition     = alltrue([for a in concat(values(aws_cloudwatch_metric_alarm.broker_down), values(aws_cloudwatch_metric_alarm.function_errors), [aws_cloudwatch_metric_alarm.bucket_errors]) : a.alarm_actions == toset([aws_sns_topic.this[0].arn])])
    error_message = "An alarm tells nobody."
  }
  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == 11 && alltrue([for w in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : length(w.properties.metrics) > 0])
    error_message = "A graph is empty or missing."
  }
  assert {
    condition     = aws_sns_topic_subscription.email["operator@example.com"].topic_arn == output.alarm_topic_arns[0]
    error_message = "The topic writes to nobody."
  }
}

run "a_topic_of_ones_own_and_nothing_else" {
  variables {
    alarm_topic_arns          = ["arn:aws:sns:eu-central-1:123456789012:ops"]
    functions                 = {}
    scheduled_functions       = []
    dead_letter_queue         = null
    balancer_arn_suffix       = null
    target_group_arn_suffixes = {}
    autoscaling_groups        = {}
  }

  assert {
    condition     = length(aws_sns_topic.this) == 0 && aws_cloudwatch_metric_alarm.table_errors["control"].alarm_actions == toset(["arn:aws:sns:eu-central-1:123456789012:ops"])
    error_message = "Alarms go to the topic that is there."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.broker_down) == 0 && length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == 4
    error_message = "Nothing that is not there is watched."
  }
}
