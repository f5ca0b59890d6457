output "cluster" {
  description = "Name of the ECS cluster."
  value       = aws_ecs_cluster.this.name
}

output "services" {
  description = "Service of each broker, by node id."
  value       = { for id, s in aws_ecs_service.this : id => s.name }
}

output "role_arn" {
  description = "Role of the brokers."
  value       = aws_iam_role.task.arn
}
