output "bootstrap" {
  description = "What clients are given as bootstrap.servers; null without brokers."
  value       = one(module.network[*].bootstrap)
}

output "brokers" {
  description = "host:port of each broker for clients, by node id."
  value       = { for id, b in local.brokers : id => b.advertised }
}

output "object_store" {
  description = "The --object-store of the cluster."
  value       = local.object_store
}

output "wal_store" {
  description = "The --wal-store of the cluster; null if it has none."
  value       = local.wal_store
}

output "metadata" {
  description = "The --metadata of the cluster."
  value       = local.metadata
}

output "api_url" {
  description = "URL of the admin API without a slash at its end; null if there are no functions."
  value       = one(module.functions[*].api_url)
}

output "api_arn" {
  description = "ARN of the function of the admin API; null if there are no functions."
  value       = one(module.functions[*].api_arn)
}

output "api_caller_policy" {
  description = "IAM policy of those who call the admin API, as JSON; null if there are no functions."
  value       = one(module.functions[*].api_caller_policy)
}

output "policies" {
  description = "The IAM policy of each job, as JSON."
  value       = module.iam.policies
}

output "broker_role_arn" {
  description = "Role of the brokers; null without brokers."
  value       = one(concat(module.brokers_ec2[*].role_arn, module.brokers_ecs[*].role_arn))
}

output "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to."
  value       = flatten(module.monitoring[*].alarm_topic_arns)
}
