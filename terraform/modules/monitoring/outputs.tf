output "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to."
  value       = local.topics
}

output "dashboard" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
