output "bootstrap" {
  description = "What clients are given as bootstrap.servers."
  value       = "${local.host}:${var.port}"
}

output "advertised" {
  description = "host:port of each broker for clients, by node id."
  value       = { for key, id in local.brokers : key => "${local.host}:${var.port + id}" }
}

output "target_group_arns" {
  description = "Target groups of each broker, by node id: its own and that of all."
  value       = { for key, id in local.brokers : key => [aws_lb_target_group.broker[key].arn, aws_lb_target_group.any.arn] }

  depends_on = [aws_lb_listener.broker, aws_lb_listener.any] # ECS wants a listener before a service
}

output "broker_security_group_id" {
  description = "Security group of the brokers."
  value       = aws_security_group.broker.id
}

output "balancer_arn_suffix" {
  description = "The load balancer, as CloudWatch names it."
  value       = aws_lb.this.arn_suffix
}

output "target_group_arn_suffixes" {
  description = "Target group of each broker, as CloudWatch names it, by node id."
  value       = { for key, id in local.brokers : key => aws_lb_target_group.broker[key].arn_suffix }
}
